//! What all readers of image files share: which format a file has, what it may claim, and how it is
//! said what is wrong with it.

use std::fmt::{self, Display};

use crate::KernelError;

/// A file format for images.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ImageFormat {
    Png,
    Jpeg,
    WebP,
    Tiff,
    Npy,
}

impl ImageFormat {
    /// What the first bytes say.
    pub(crate) fn detect(bytes: &[u8]) -> Result<Self, KernelError> {
        match bytes {
            [] => Err(KernelError::input("not an image: the file is empty")),
            [0x89, b'P', b'N', b'G', b'\r', b'\n', 0x1a, b'\n', ..] => Ok(Self::Png),
            [0xff, 0xd8, 0xff, ..] => Ok(Self::Jpeg),
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'E', b'B', b'P', ..] => Ok(Self::WebP),
            [b'I', b'I', 42 | 43, 0, ..] | [b'M', b'M', 0, 42 | 43, ..] => Ok(Self::Tiff),
            [0x93, b'N', b'U', b'M', b'P', b'Y', ..] => Ok(Self::Npy),
            _ => Err(KernelError::input(format!(
                "not an image: starts with {:02x?}; PNG, JPEG, WebP, TIFF and .npy are read",
                &bytes[..bytes.len().min(4)]
            ))),
        }
    }

    /// By the value of the parameter `format`; `None` for `same`.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Some(match name {
            "png" => Self::Png,
            "jpeg" => Self::Jpeg,
            "webp" => Self::WebP,
            "tiff" => Self::Tiff,
            "npy" => Self::Npy,
            _ => return None,
        })
    }

    /// The file contradicts itself or its format. Decoders' messages of several lines become one.
    pub(super) fn damaged(self, what: impl Display) -> KernelError {
        let what = what.to_string();
        let what = what.split_whitespace().collect::<Vec<_>>().join(" ");
        KernelError::input(format!("damaged {self}: {what}"))
    }

    /// The file ends before it is complete.
    pub(super) fn truncated(self) -> KernelError {
        KernelError::input(format!("truncated {self}"))
    }

    /// The file may be right, but is of a kind that is not read.
    pub(super) fn unsupported(self, what: impl Display) -> KernelError {
        KernelError::input(format!("unsupported {self}: {what}"))
    }

    /// Longest side that the format can express.
    pub(super) fn max_side(self) -> u32 {
        match self {
            Self::Jpeg => 65_535,
            Self::WebP => 16_384,
            Self::Png => i32::MAX as u32,
            Self::Tiff | Self::Npy => u32::MAX,
        }
    }
}

impl Display for ImageFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Png => "PNG",
            Self::Jpeg => "JPEG",
            Self::WebP => "WebP",
            Self::Tiff => "TIFF",
            Self::Npy => ".npy",
        })
    }
}

/// Refuses an image by what its header claims.
pub(super) fn check_size(width: u64, height: u64, max_pixels: u64) -> Result<(), KernelError> {
    let pixels = u128::from(width) * u128::from(height);
    if pixels > u128::from(max_pixels) {
        return Err(KernelError::TooLarge {
            what: "the image",
            size: format!("{width}x{height} = {pixels} pixels"),
            limit: format!("{max_pixels}"),
            flag: "--max-pixels",
        });
    }
    Ok(())
}
