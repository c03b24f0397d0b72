//! Pictures: bytes in, smaller bytes out.
//!
//! Everything here comes from people who may mean harm. What a file claims to be is not asked; what it would take to
//! decode it is known from its header and bounded before a pixel of it is decoded.

use std::io::Cursor;

use base::{Error, Reply};
use image::{
    DynamicImage, ImageDecoder, ImageError, ImageFormat, ImageResult, Limits,
    codecs::{
        gif::GifDecoder,
        jpeg::{JpegDecoder, JpegEncoder},
        png::{PngDecoder, PngEncoder},
        webp::WebPDecoder,
    },
    imageops::FilterType,
    metadata::Orientation,
};

use crate::size::{Plan, Target};

/// A file of which thumbnails are made. Decoders want it whole in memory; photographs are smaller.
pub(crate) const SOURCE_BYTES_MAX: u64 = 32 << 20;
/// A picture of which thumbnails are made, in pixels: larger than what ordinary cameras make.
const PIXELS_MAX: u64 = 50_000_000;
/// What it may take when it is decoded: four bytes for each pixel, eight for fewer.
pub(crate) const DECODED_BYTES_MAX: u64 = 200 << 20;
/// Nobody sees more in a thumbnail.
const JPEG_QUALITY: u8 = 80;

/// A thumbnail.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Made {
    /// `None`: the original serves.
    pub(crate) bytes: Option<Vec<u8>>,
    pub(crate) content_type: &'static str,
}

/// Makes a thumbnail. Pictures that move stand still in it, unless they serve as they are and may move.
///
/// # Errors
/// 400 `M_UNKNOWN` for what is no picture of a known kind, 413 `M_TOO_LARGE` for one that is too large.
pub(crate) fn shrink(bytes: &[u8], target: Target, animated: bool) -> Reply<Made> {
    let format = image::guess_format(bytes).map_err(|_| impossible())?;
    let (mut decoder, moves) = open(bytes, format).map_err(|e| refuse(&e))?;
    let (width, height) = decoder.dimensions();
    let pixels = u64::from(width) * u64::from(height);
    if pixels == 0 {
        return Err(impossible());
    }
    if pixels > PIXELS_MAX || decoder.total_bytes() > DECODED_BYTES_MAX {
        return Err(too_large());
    }
    // Half of the photographs lie on their side. A header that says nothing sensible says nothing.
    let turn = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let plan = match is_sideways(turn) {
        false => target.plan(width, height),
        true => turned(target.plan(height, width)),
    };
    let (scaled, cut) = match plan {
        Plan::Original if !moves || animated => {
            return Ok(Made { bytes: None, content_type: format.to_mime_type() });
        }
        Plan::Original => ((width, height), (width, height)),
        Plan::Make { scaled, cut } => (scaled, cut),
    };
    let image = DynamicImage::from_decoder(decoder).map_err(|e| refuse(&e))?;
    let mut image = middle(scale(image, scaled), cut);
    image.apply_orientation(turn);
    encode(&image)
}

/// 400: it cannot be done.
pub(crate) fn impossible() -> Error {
    Error::refused(400, "M_UNKNOWN", "Cannot generate thumbnails for the requested content")
}
/// 413: it would take too much.
pub(crate) fn too_large() -> Error {
    Error::too_large("Content is too large to thumbnail")
}

fn refuse(error: &ImageError) -> Error {
    match error {
        ImageError::Limits(_) => too_large(),
        _ => impossible(),
    }
}

/// A decoder that has read the header, and: may this picture move?
fn open(bytes: &[u8], format: ImageFormat) -> ImageResult<(Box<dyn ImageDecoder + '_>, bool)> {
    let from = Cursor::new(bytes);
    let mut limits = Limits::default();
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    let (mut decoder, moves): (Box<dyn ImageDecoder + '_>, bool) = match format {
        ImageFormat::Png => {
            let png = PngDecoder::with_limits(from, limits.clone())?;
            let moves = png.is_apng()?;
            (Box::new(png), moves)
        }
        ImageFormat::Jpeg => (Box::new(JpegDecoder::new(from)?), false),
        // Whether there is a second frame is only known after the first: no matter.
        ImageFormat::Gif => (Box::new(GifDecoder::new(from)?), true),
        ImageFormat::WebP => {
            let webp = WebPDecoder::new(from)?;
            let moves = webp.has_animation();
            (Box::new(webp), moves)
        }
        other => {
            let hint = image::error::ImageFormatHint::Exact(other);
            return Err(ImageError::Unsupported(hint.into()));
        }
    };
    decoder.set_limits(limits)?;
    Ok((decoder, moves))
}

fn is_sideways(turn: Orientation) -> bool {
    use Orientation::{Rotate90, Rotate90FlipH, Rotate270, Rotate270FlipH};
    matches!(turn, Rotate90 | Rotate90FlipH | Rotate270 | Rotate270FlipH)
}

fn turned(plan: Plan) -> Plan {
    match plan {
        Plan::Original => Plan::Original,
        Plan::Make { scaled, cut } => {
            Plan::Make { scaled: (scaled.1, scaled.0), cut: (cut.1, cut.0) }
        }
    }
}

/// In two steps where that saves work: quickly to twice the size, then well.
fn scale(mut image: DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    let (twice_width, twice_height) = (width.saturating_mul(2), height.saturating_mul(2));
    if image.width() > twice_width && image.height() > twice_height {
        image = image.thumbnail_exact(twice_width, twice_height);
    }
    if (image.width(), image.height()) == (width, height) {
        return image;
    }
    image.resize_exact(width, height, FilterType::Triangle)
}

fn middle(image: DynamicImage, (width, height): (u32, u32)) -> DynamicImage {
    if (image.width(), image.height()) == (width, height) {
        return image;
    }
    let left = image.width().saturating_sub(width) / 2;
    let top = image.height().saturating_sub(height) / 2;
    image.crop_imm(left, top, width, height)
}

/// JPEG, or PNG if anything shows through.
fn encode(image: &DynamicImage) -> Reply<Made> {
    let mut bytes = Vec::new();
    let rgba = image.color().has_alpha().then(|| image.to_rgba8());
    let rgba = rgba.filter(|rgba| rgba.pixels().any(|pixel| pixel.0.last() != Some(&u8::MAX)));
    let (outcome, content_type) = match rgba {
        Some(rgba) => (rgba.write_with_encoder(PngEncoder::new(&mut bytes)), "image/png"),
        None => {
            let encoder = JpegEncoder::new_with_quality(&mut bytes, JPEG_QUALITY);
            (image.to_rgb8().write_with_encoder(encoder), "image/jpeg")
        }
    };
    outcome.map_err(|e| refuse(&e))?;
    Ok(Made { bytes: Some(bytes), content_type })
}

#[cfg(test)]
mod tests {
    use image::{Frame, Rgb, RgbImage, Rgba, RgbaImage, codecs::gif::GifEncoder};

    use super::*;
    use crate::{Method, testing::png_header};

    fn encoded(image: impl Into<DynamicImage>, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        image.into().write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    fn plain(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| Rgb([x as u8, y as u8, 7]))
    }

    fn target(width: u32, height: u32, method: Method) -> Target {
        Target { width, height, method }
    }
    const SMALL: Target = Target { width: 320, height: 240, method: Method::Scale };

    fn size(made: &Made) -> (u32, u32) {
        let image = image::load_from_memory(made.bytes.as_ref().unwrap()).unwrap();
        (image.width(), image.height())
    }

    fn code(reply: Reply<Made>) -> (u16, &'static str) {
        match reply {
            Err(Error::Refused(refusal)) => (refusal.status, refusal.errcode),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_known_kind_is_scaled_and_cropped() {
        for format in [ImageFormat::Png, ImageFormat::Jpeg, ImageFormat::Gif, ImageFormat::WebP] {
            let source = encoded(plain(640, 400), format);
            let made = shrink(&source, SMALL, false).unwrap();
            assert_eq!((size(&made), made.content_type), ((320, 200), "image/jpeg"), "{format:?}");
            let made = shrink(&source, target(96, 96, Method::Crop), false).unwrap();
            assert_eq!(size(&made), (96, 96), "{format:?}");
        }
    }

    #[test]
    fn what_is_small_already_serves_as_it_is() {
        for (format, name) in [
            (ImageFormat::Png, "image/png"),
            (ImageFormat::Jpeg, "image/jpeg"),
            (ImageFormat::WebP, "image/webp"),
        ] {
            let source = encoded(plain(300, 200), format);
            let made = shrink(&source, SMALL, false).unwrap();
            assert_eq!(made, Made { bytes: None, content_type: name });
        }
    }

    #[test]
    fn what_shows_through_still_does() {
        let glass = RgbaImage::from_pixel(400, 400, Rgba([1, 2, 3, 100]));
        let made = shrink(&encoded(glass, ImageFormat::Png), SMALL, false).unwrap();
        assert_eq!(made.content_type, "image/png");
        let image = image::load_from_memory(&made.bytes.unwrap()).unwrap().to_rgba8();
        assert_eq!(image.get_pixel(9, 9).0, [1, 2, 3, 100]);
        let opaque = RgbaImage::from_pixel(400, 400, Rgba([1, 2, 3, 255]));
        let made = shrink(&encoded(opaque, ImageFormat::Png), SMALL, false).unwrap();
        assert_eq!(made.content_type, "image/jpeg");
    }

    #[test]
    fn what_moves_is_only_served_to_those_who_want_that() {
        let mut bytes = Vec::new();
        let frame = |colour| Frame::new(RgbaImage::from_pixel(40, 40, Rgba([colour, 0, 0, 255])));
        GifEncoder::new(&mut bytes).encode_frames([frame(10), frame(200)]).unwrap();
        let made = shrink(&bytes, SMALL, true).unwrap();
        assert_eq!(made, Made { bytes: None, content_type: "image/gif" });
        let made = shrink(&bytes, SMALL, false).unwrap();
        assert_eq!((size(&made), made.content_type), ((40, 40), "image/jpeg"));
    }

    #[test]
    fn a_photograph_on_its_side_is_turned() {
        let jpeg = encoded(plain(800, 400), ImageFormat::Jpeg);
        // APP1, behind the start marker: Exif, big endian, one entry: orientation 6.
        let exif = [
            &b"Exif\0\0MM\0*\0\0\0\x08\0\x01"[..],
            &[0x01, 0x12, 0, 3, 0, 0, 0, 1, 0, 6, 0, 0, 0, 0, 0, 0],
        ]
        .concat();
        let length = (exif.len() as u16 + 2).to_be_bytes();
        let source = [&jpeg[..2], &[0xFF, 0xE1], &length, &exif, &jpeg[2..]].concat();
        let made = shrink(&source, SMALL, false).unwrap();
        assert_eq!(size(&made), (120, 240));
    }

    #[test]
    fn a_bomb_is_refused_by_its_header() {
        let bomb = png_header(60_000, 60_000, 8);
        assert_eq!(code(shrink(&bomb, SMALL, false)), (413, "M_TOO_LARGE"));
        // Also one that would serve as it is.
        let all = target(u32::MAX, u32::MAX, Method::Scale);
        assert_eq!(code(shrink(&bomb, all, false)), (413, "M_TOO_LARGE"));
        // Too many bytes, though not too many pixels.
        assert_eq!(code(shrink(&png_header(7_000, 7_000, 16), SMALL, false)), (413, "M_TOO_LARGE"));
        assert_eq!(code(shrink(&png_header(7_000, 7_000, 8), SMALL, false)), (400, "M_UNKNOWN"));
    }

    #[test]
    fn what_is_no_picture_has_no_thumbnail() {
        let png = encoded(plain(640, 480), ImageFormat::Png);
        for source in [&b""[..], b"hello", b"<svg/>", b"%PDF-1.4", b"BM______________", &png[..50]]
        {
            assert_eq!(code(shrink(source, SMALL, false)), (400, "M_UNKNOWN"), "{source:?}");
        }
        assert_eq!(code(shrink(&png_header(0, 5, 8), SMALL, false)), (400, "M_UNKNOWN"));
        let half = &png[..png.len() / 2];
        assert_eq!(code(shrink(half, SMALL, false)), (400, "M_UNKNOWN"));
    }
}
