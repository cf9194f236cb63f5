//! How libjpeg reports faults: it unwinds with a [`JpegFault`], for warnings too.
//!
//! After what libjpeg calls a warning (data that ends too early, a code that is in no table), it
//! goes on and fills the picture with something. A caller that must not take a damaged file for an
//! intact one cannot use such a picture, so here a warning ends the call as an error does.

use std::ffi::c_int;

use mozjpeg_sys as ffi;

/// The fault that libjpeg reported: the number of its message, a `JERR_` or `JWRN_` constant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JpegFault(pub i32);

/// An error manager for `mozjpeg`'s builders. Errors and warnings unwind with a [`JpegFault`] as
/// the payload and bypass the panic hook. The caller catches the payload with
/// [`std::panic::catch_unwind`].
///
/// Two warnings are ignored because they say nothing about the pixels: a JFIF version that libjpeg
/// does not know, and limits of the spectrum in a scan that has none.
pub fn strict_errors() -> ffi::jpeg_error_mgr {
    ffi::jpeg_error_mgr {
        error_exit: Some(fail),
        emit_message: Some(warn),
        reset_error_mgr: Some(reset),
        // libjpeg uses the rest only in its own versions of the functions above.
        output_message: None,
        format_message: None,
        msg_code: 0,
        msg_parm: ffi::msg_parm_union::default(),
        trace_level: 0,
        num_warnings: 0,
        jpeg_message_table: std::ptr::null(),
        last_jpeg_message: 0,
        addon_message_table: std::ptr::null(),
        first_addon_message: 0,
        last_addon_message: 0,
    }
}

fn code(cinfo: &ffi::jpeg_common_struct) -> i32 {
    // SAFETY: libjpeg calls its error manager's functions with `err` pointing to that manager,
    // which lives as long as the object that it was given to.
    unsafe { (*cinfo.err).msg_code }
}

#[cold]
extern "C-unwind" fn fail(cinfo: &mut ffi::jpeg_common_struct) {
    // Not `panic!`: a damaged file is not a fault of the program, and the hook would print it.
    std::panic::resume_unwind(Box::new(JpegFault(code(cinfo))));
}

extern "C-unwind" fn warn(cinfo: &mut ffi::jpeg_common_struct, level: c_int) {
    // Levels of 0 and above are traces.
    if level < 0 && ![ffi::JWRN_JFIF_MAJOR, ffi::JWRN_NOT_SEQUENTIAL].contains(&code(cinfo)) {
        fail(cinfo);
    }
}

extern "C-unwind" fn reset(_: &mut ffi::jpeg_common_struct) {}
