//! The format of a result, and the extension of its file.

use brigade_kernels::{OutputFormat, RegisteredKernel};
use brigade_proto::{Params, Value};

/// The value of the parameter `format` for a file name extension.
fn image_format(extension: &str) -> Option<&'static str> {
    match extension.to_ascii_lowercase().as_str() {
        "png" => Some("png"),
        "jpg" | "jpeg" => Some("jpeg"),
        "webp" => Some("webp"),
        "tif" | "tiff" => Some("tiff"),
        "npy" => Some("npy"),
        _ => None,
    }
}

/// Whether kernels read or write files with this extension.
pub(super) fn is_known(extension: &str) -> bool {
    let others = ["json", "wav", "bin"];
    image_format(extension).is_some()
        || others.iter().any(|other| other.eq_ignore_ascii_case(extension))
}

/// Whether two extensions mean one format, as jpg and jpeg do.
pub(super) fn is_same(one: &str, other: &str) -> bool {
    one.eq_ignore_ascii_case(other)
        || (image_format(one).is_some() && image_format(one) == image_format(other))
}

/// Makes `entry` write the format of this extension, by setting its parameter `format` if it has
/// one.
///
/// # Errors
/// Why it cannot write that format.
pub(crate) fn choose(
    entry: &RegisteredKernel,
    params: &mut Params,
    extension: &str,
) -> Result<(), String> {
    let name = entry.spec.name;
    match entry.spec.output_format {
        // Bytes in a kernel's own format may have any extension.
        OutputFormat::Fixed("bin") => return Ok(()),
        OutputFormat::Fixed(own) if own.eq_ignore_ascii_case(extension) => return Ok(()),
        OutputFormat::Fixed(own) => {
            return Err(format!("`{name}` always writes .{own}, not .{extension}"));
        }
        OutputFormat::LikeInput => {}
    }
    if !entry.spec.params.iter().any(|param| param.name == "format") {
        return Ok(());
    }
    let Some(format) = image_format(extension) else {
        return Err(format!(
            "`{name}` cannot write .{extension}; it writes .png, .jpg, .webp, .tiff and .npy"
        ));
    };
    match params.get("format") {
        Some(Value::Text(asked)) if asked != "same" && asked != format => {
            Err(format!("the parameter format={asked} and the extension .{extension} contradict"))
        }
        _ => {
            params.set("format", format);
            Ok(())
        }
    }
}

/// The extension of outputs if the user has named none. `None` means the extension of the input.
pub(super) fn extension(entry: &RegisteredKernel, params: &Params) -> Option<&'static str> {
    match entry.spec.output_format {
        OutputFormat::Fixed(own) => Some(own),
        OutputFormat::LikeInput => match params.get("format") {
            Some(Value::Text(format)) => match format.as_str() {
                "png" => Some("png"),
                "jpeg" => Some("jpg"),
                "webp" => Some("webp"),
                "tiff" => Some("tiff"),
                "npy" => Some("npy"),
                _ => None,
            },
            _ => None,
        },
    }
}
