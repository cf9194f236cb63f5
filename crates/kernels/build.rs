//! Says at build time what will make JPEG files slow.

use std::env;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=PATH");
    let x86 = env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64");
    if x86 && Command::new("nasm").arg("-v").output().is_err() {
        println!(
            "cargo:warning=nasm is not installed, so JPEG files will be read and written at about \
             half the speed; to mend it: install nasm (apt install nasm), cargo clean -p mozjpeg-sys"
        );
    }
}
