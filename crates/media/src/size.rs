//! How large a thumbnail is (spec: "Content repository", "Thumbnails"): pure arithmetic.
//!
//! What must hold: nothing is ever made larger than it was; the answer is no smaller than what was asked for unless the
//! picture is; few sizes are made of one picture, whatever is asked for.

use base::{Error, Reply};

/// How a picture is brought to a size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Cut to the aspect of the size.
    Crop,
    /// All of it, within the size.
    Scale,
}

/// A thumbnail as a client asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    width: u32,
    height: u32,
    method: Method,
    pub(crate) animated: bool,
}

/// Sizes that are made by scaling: those of the spec, and one for large screens.
const SCALE: [(u32, u32); 4] = [(320, 240), (640, 480), (800, 600), (1_600, 1_200)];
/// The longer sides of what is made by cropping: those of the spec, and what avatars need on large screens.
const CROP: [u32; 6] = [32, 96, 256, 512, 1_024, 2_048];
/// The shorter side of a crop is so many parts of the longer one: all common aspects, and no more than 16 of them.
const ASPECT_PARTS: u32 = 16;

impl Wanted {
    /// `animated`: something that moves is welcome.
    ///
    /// # Errors
    /// 400 `M_UNKNOWN` if a side is zero.
    pub fn new(width: u32, height: u32, method: Method, animated: bool) -> Reply<Wanted> {
        if width == 0 || height == 0 {
            return Err(Error::refused(400, "M_UNKNOWN", "a thumbnail has a width and a height"));
        }
        Ok(Wanted { width, height, method, animated })
    }

    /// The size that is made for it: the next larger one. Beyond the largest there is no bound but the picture.
    pub(crate) fn target(&self) -> Target {
        let Wanted { width, height, method, .. } = *self;
        match method {
            Method::Scale => {
                let fits = |(w, h): &&(u32, u32)| width <= *w && height <= *h;
                let (width, height) = *SCALE.iter().find(fits).unwrap_or(&(u32::MAX, u32::MAX));
                Target { width, height, method }
            }
            Method::Crop => {
                let (long, short) = (width.max(height), width.min(height));
                let side = *CROP.iter().find(|side| long <= **side).unwrap_or(&u32::MAX);
                let parts = (u64::from(short) * u64::from(ASPECT_PARTS)).div_ceil(u64::from(long));
                let other = u64::from(side) * parts / u64::from(ASPECT_PARTS);
                let other = u32::try_from(other).unwrap_or(side).max(short.min(side));
                let (width, height) = if width >= height { (side, other) } else { (other, side) };
                Target { width, height, method }
            }
        }
    }
}

/// A size that is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) width: u32,
    pub(crate) height: u32,
    pub(crate) method: Method,
}

/// What to do with a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Plan {
    /// It is no larger than the target: it serves as it is.
    Original,
    /// Scale to the first size, then cut the second out of its middle.
    Make { scaled: (u32, u32), cut: (u32, u32) },
}

impl Target {
    /// The name of the size, for its row.
    pub(crate) fn name(&self, animated: bool) -> String {
        let method = match self.method {
            Method::Crop => "crop",
            Method::Scale => "scale",
        };
        let suffix = if animated { "-animated" } else { "" };
        format!("{}x{}-{method}{suffix}", self.width, self.height)
    }

    /// What to do with a picture of this size. No side of it is zero.
    pub(crate) fn plan(&self, width: u32, height: u32) -> Plan {
        if width <= self.width && height <= self.height {
            return Plan::Original;
        }
        let ratios =
            |w: u32, h: u32| (f64::from(w) / f64::from(width), f64::from(h) / f64::from(height));
        match self.method {
            Method::Scale => {
                let (across, down) = ratios(self.width, self.height);
                let scaled = scaled(width, height, across.min(down));
                Plan::Make { scaled, cut: scaled }
            }
            Method::Crop => {
                // The largest cut of this aspect that is within the picture.
                let across = f64::from(width) / f64::from(self.width);
                let down = f64::from(height) / f64::from(self.height);
                let cut = scaled(self.width, self.height, across.min(down));
                let (across, down) = ratios(cut.0, cut.1);
                let cover = scaled(width, height, across.max(down));
                let scaled = (cover.0.max(cut.0).min(width), cover.1.max(cut.1).min(height));
                Plan::Make { scaled, cut: (cut.0.min(scaled.0), cut.1.min(scaled.1)) }
            }
        }
    }
}

/// Never larger, never nothing.
fn scaled(width: u32, height: u32, factor: f64) -> (u32, u32) {
    // A float that is cast to an integer is clamped to its range.
    let side = |side: u32| ((f64::from(side) * factor).round() as u32).clamp(1, side);
    (side(width), side(height))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: u32 = u32::MAX;

    fn target(width: u32, height: u32, method: Method) -> (u32, u32) {
        let target = Wanted::new(width, height, method, false).unwrap().target();
        (target.width, target.height)
    }

    #[test]
    fn requests_are_rounded_up_to_few_sizes() {
        for (width, height, expected) in [
            (1, 1, (320, 240)),
            (320, 240, (320, 240)),
            (321, 1, (640, 480)),
            (240, 320, (640, 480)),
            (800, 600, (800, 600)),
            (801, 600, (1_600, 1_200)),
            (1_601, 1, (MAX, MAX)),
            (MAX, MAX, (MAX, MAX)),
        ] {
            assert_eq!(target(width, height, Method::Scale), expected, "{width}x{height}");
        }
        for (width, height, expected) in [
            (1, 1, (32, 32)),
            (32, 32, (32, 32)),
            (33, 33, (96, 96)),
            (96, 96, (96, 96)),
            (64, 48, (96, 72)),
            (48, 64, (72, 96)),
            (160, 90, (256, 144)),
            (256, 1, (256, 16)),
            (3_000, 3_000, (MAX, MAX)),
        ] {
            assert_eq!(target(width, height, Method::Crop), expected, "{width}x{height}");
        }
        assert!(Wanted::new(0, 1, Method::Crop, false).is_err());
        assert!(Wanted::new(1, 0, Method::Crop, false).is_err());
    }

    #[test]
    fn few_sizes_are_made_however_many_are_asked_for() {
        let mut made = std::collections::HashSet::new();
        for width in (1..3_000).step_by(7) {
            for height in (1..3_000).step_by(7) {
                let (w, h) = target(width, height, Method::Crop);
                assert!(w >= width && h >= height, "{width}x{height}: {w}x{h}");
                made.insert((w, h));
            }
        }
        assert!(made.len() <= 2 * 16 * 7, "{}", made.len());
    }

    fn plan(target: (u32, u32, Method), width: u32, height: u32) -> Plan {
        Target { width: target.0, height: target.1, method: target.2 }.plan(width, height)
    }

    #[test]
    fn scaling_keeps_the_aspect_and_stays_within_the_size() {
        let box_ = (320, 240, Method::Scale);
        let make = |w, h| Plan::Make { scaled: (w, h), cut: (w, h) };
        assert_eq!(plan(box_, 640, 480), make(320, 240));
        assert_eq!(plan(box_, 1_000, 200), make(320, 64));
        assert_eq!(plan(box_, 200, 1_000), make(48, 240));
        assert_eq!(plan(box_, 100_000, 1), make(320, 1));
        assert_eq!(plan(box_, 320, 240), Plan::Original);
        assert_eq!(plan(box_, 10, 10), Plan::Original);
        assert_eq!(plan((MAX, MAX, Method::Scale), 60_000, 60_000), Plan::Original);
    }

    #[test]
    fn cropping_has_the_aspect_of_the_size() {
        let square = (96, 96, Method::Crop);
        let make = |scaled, cut| Plan::Make { scaled, cut };
        assert_eq!(plan(square, 192, 96), make((192, 96), (96, 96)));
        assert_eq!(plan(square, 384, 192), make((192, 96), (96, 96)));
        assert_eq!(plan(square, 200, 1_000), make((96, 480), (96, 96)));
        assert_eq!(plan((96, 48, Method::Crop), 960, 960), make((96, 96), (96, 48)));
        // Too small one way: the largest square within it.
        assert_eq!(plan(square, 80, 200), make((80, 200), (80, 80)));
        assert_eq!(plan(square, 96, 96), Plan::Original);
        assert_eq!(plan(square, 20, 90), Plan::Original);
    }

    #[test]
    fn nothing_is_ever_upscaled() {
        let sides = [1, 2, 31, 32, 33, 95, 97, 240, 641, 5_000, 65_535];
        for method in [Method::Crop, Method::Scale] {
            for (tw, th) in sides.iter().flat_map(|w| sides.map(|h| (*w, h))) {
                for (w, h) in sides.iter().flat_map(|w| sides.map(|h| (*w, h))) {
                    let Plan::Make { scaled, cut } = plan((tw, th, method), w, h) else { continue };
                    let case = format!("{tw}x{th} {method:?} of {w}x{h}: {scaled:?} {cut:?}");
                    assert!(scaled.0 <= w && scaled.1 <= h, "{case}");
                    assert!(cut.0 <= scaled.0 && cut.1 <= scaled.1, "{case}");
                    assert!(cut.0 <= tw && cut.1 <= th, "{case}");
                    assert!(cut.0 >= 1 && cut.1 >= 1, "{case}");
                }
            }
        }
    }
}
