//! An event as push rules see it: each property by its dot-separated path (spec: Appendices,
//! "Dot-separated property paths").

use serde_json::Value;

use crate::json::INTEGER_MAX;

/// The properties of an event by path. Made once per event and shared by all its evaluations.
#[derive(Clone, Debug, Default)]
pub struct Flat {
    /// Sorted by path.
    properties: Vec<(String, Property)>,
}

/// A value without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Scalar {
    Null,
    Bool(bool),
    Integer(i64),
    Text(String),
}

#[derive(Clone, Debug)]
enum Property {
    /// A scalar, and for a string its lower-case form if that differs.
    Scalar(Scalar, Option<String>),
    /// The scalars of an array; its other entries match nothing.
    Array(Vec<Scalar>),
}

impl Flat {
    /// Flattens the client half of an event. What is not an object has no properties.
    #[must_use]
    pub fn of_event(client_json: &str) -> Flat {
        let mut flat = Flat::default();
        if let Ok(event @ Value::Object(_)) = serde_json::from_str(client_json) {
            flat.add(String::new(), event);
        }
        flat.properties.sort_by(|(a, _), (b, _)| a.cmp(b));
        flat
    }

    fn add(&mut self, path: String, value: Value) {
        let property = match value {
            Value::Object(fields) => {
                for (key, value) in fields {
                    let key = escape(&key);
                    let path = if path.is_empty() { key } else { format!("{path}.{key}") };
                    self.add(path, value);
                }
                return;
            }
            Value::Array(values) => {
                Property::Array(values.into_iter().filter_map(scalar).collect())
            }
            value => {
                let Some(scalar) = scalar(value) else { return };
                let lower = match &scalar {
                    Scalar::Text(text) => Some(text.to_lowercase()).filter(|lower| lower != text),
                    _ => None,
                };
                Property::Scalar(scalar, lower)
            }
        };
        self.properties.push((path, property));
    }

    fn get(&self, path: &str) -> Option<&Property> {
        let at = self.properties.binary_search_by(|(key, _)| key.as_str().cmp(path)).ok()?;
        self.properties.get(at).map(|(_, property)| property)
    }

    /// The string at a path.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Property::Scalar(Scalar::Text(text), _) => Some(text),
            _ => None,
        }
    }

    /// The string at a path in lower case.
    pub(super) fn lower(&self, path: &str) -> Option<&str> {
        match self.get(path)? {
            Property::Scalar(Scalar::Text(text), lower) => Some(lower.as_deref().unwrap_or(text)),
            _ => None,
        }
    }

    /// Whether the value at a path is exactly this one.
    pub(super) fn is(&self, path: &str, wanted: &Scalar) -> bool {
        matches!(self.get(path), Some(Property::Scalar(found, _)) if found == wanted)
    }

    /// Whether the array at a path has exactly this value in it.
    pub(super) fn contains(&self, path: &str, wanted: &Scalar) -> bool {
        matches!(self.get(path), Some(Property::Array(found)) if found.contains(wanted))
    }
}

fn escape(key: &str) -> String {
    key.replace('\\', "\\\\").replace('.', "\\.")
}

fn scalar(value: Value) -> Option<Scalar> {
    Some(match value {
        Value::Null => Scalar::Null,
        Value::Bool(value) => Scalar::Bool(value),
        Value::String(value) => Scalar::Text(value),
        Value::Number(value) => {
            Scalar::Integer(value.as_i64().filter(|n| n.unsigned_abs() <= INTEGER_MAX)?)
        }
        Value::Array(_) | Value::Object(_) => return None,
    })
}
