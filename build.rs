//! How the program is linked, where that can be told: with the unwinder in it, and with the code of a
//! job's way together. Where it cannot, the program is linked as it always is.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let is_native = std::env::var("HOST") == std::env::var("TARGET");
    // The libraries of another machine are not this compiler's.
    if !is_native || target("OS") != "linux" || target("ENV") != "gnu" {
        return;
    }
    link_unwinder();
    lay_out();
}

/// A worker that is spawned starts the program, and a shared library costs each start: it is looked
/// for, mapped and relocated, and the constructor of `libgcc_s` asks the processor what it is, where
/// each question to that is a trip to the hypervisor in a virtual machine. Of `libgcc_s` a Rust program
/// needs the unwinder only, which is in `libgcc_eh.a` as well. Two workers are ready in 0.92 of the
/// time without it.
///
/// Nothing is lost where there is no archive, or where the linker takes the shared library all the
/// same. What is lost where it does not: the archive of gcc 12 needs glibc 2.35, all else here 2.34.
fn link_unwinder() {
    let Some(directory) = directory_of("libgcc_eh.a") else { return };
    println!("cargo:rustc-link-search=native={}", directory.display());
    println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
}

/// The C compiler, which links the program too.
fn compiler() -> Command {
    Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
}

/// Where the C compiler has a library; `None` if it has none.
fn directory_of(library: &str) -> Option<PathBuf> {
    let found = compiler().arg(format!("-print-file-name={library}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
    // It says what it was asked for if it has none.
    path.is_absolute().then(|| path.parent().map(PathBuf::from))?
}

/// Has the linker follow job.ld, which says what for. The linkers of Rust and of GNU do; another
/// one that somebody has chosen may not know how, and is left alone, as is what the C compiler calls
/// if it fails at it.
fn lay_out() {
    println!("cargo:rerun-if-changed=job.ld");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    let is_chosen = std::env::var_os("RUSTC_LINKER").is_some()
        || std::env::var("CARGO_ENCODED_RUSTFLAGS").is_ok_and(|flags| flags.contains("link"));
    let is_release = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    if let Ok(directory) = std::env::var("CARGO_MANIFEST_DIR")
        && is_release
        && !is_chosen
        && can_follow(&format!("{directory}/job.ld")).is_some()
    {
        // Not behind -Wl, which would take a path with a comma apart.
        println!("cargo:rustc-link-arg=-T{directory}/job.ld");
    }
}

/// Links a program of one line with a script; `None` if that fails.
fn can_follow(script: &str) -> Option<()> {
    let directory = PathBuf::from(std::env::var_os("OUT_DIR")?);
    let (source, program) = (directory.join("trial.c"), directory.join("trial"));
    std::fs::write(&source, "int main(void) { return 0; }\n").ok()?;
    let linked =
        compiler().arg(format!("-T{script}")).arg(&source).arg("-o").arg(&program).output().ok()?;
    linked.status.success().then_some(())
}
