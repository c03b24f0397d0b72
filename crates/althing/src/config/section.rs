//! What is known of sections and options beside their values: where they stand and what they mean.

/// One section, as documentation and checks see it.
#[derive(Debug)]
pub(crate) struct Section {
    /// Its key; empty for what stands before all sections.
    pub(crate) key: &'static str,
    /// May it be given several times (`[[key]]`)?
    pub(crate) repeated: bool,
    /// One sentence.
    pub(crate) doc: &'static str,
    /// What it holds.
    pub(crate) options: &'static [Setting],
}

/// One option, as documentation and checks see it.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its key within the section.
    pub(crate) key: &'static str,
    /// What it does, in sentences.
    pub(crate) doc: &'static str,
    /// Its default as TOML, if it has one.
    pub(crate) default: Option<&'static str>,
    /// A value for the example file, where the default teaches nothing.
    pub(crate) example: Option<&'static str>,
    /// What a person must write.
    pub(crate) expected: fn() -> String,
    /// What text from outside the file means.
    pub(crate) from_text: fn(&str) -> toml::Value,
    /// Never shown.
    pub(crate) secret: bool,
}
