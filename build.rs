//! Links the executable with the unwinder inside it, and with the functions of a job's path next to
//! each other. Where the linker supports neither, the executable is linked as usual.

use std::path::PathBuf;
use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=CC");
    let target = |what: &str| std::env::var(format!("CARGO_CFG_TARGET_{what}")).unwrap_or_default();
    let is_native = std::env::var("HOST") == std::env::var("TARGET");
    // When cross-compiling, the C compiler here does not know the target's libraries.
    if !is_native || target("OS") != "linux" || target("ENV") != "gnu" {
        return;
    }
    link_unwinder();
    lay_out();
}

/// Links the unwinder statically. A spawned worker starts the executable, and each shared library
/// makes that start slower: the loader searches, maps and relocates it, and the constructor of
/// `libgcc_s` executes `cpuid`, which traps into the hypervisor in a virtual machine. A Rust program
/// needs only the unwinder of `libgcc_s`, and `libgcc_eh.a` contains it. Without the shared library,
/// two workers are ready in 0.92 of the time.
///
/// Without the archive, nothing changes. With it, the executable needs glibc 2.35 (the archive of
/// gcc 12) instead of 2.34.
fn link_unwinder() {
    let Some(directory) = directory_of("libgcc_eh.a") else { return };
    println!("cargo:rustc-link-search=native={}", directory.display());
    println!("cargo:rustc-link-lib=static:-bundle=gcc_eh");
}

/// The C compiler, which also links the executable.
fn compiler() -> Command {
    Command::new(std::env::var("CC").unwrap_or_else(|_| "cc".to_owned()))
}

/// The directory in which the C compiler finds a library; `None` if it finds none.
fn directory_of(library: &str) -> Option<PathBuf> {
    let found = compiler().arg(format!("-print-file-name={library}")).output().ok()?;
    let path = PathBuf::from(String::from_utf8(found.stdout).ok()?.trim());
    // If it finds none, the compiler prints the name itself.
    path.is_absolute().then(|| path.parent().map(PathBuf::from))?
}

/// Passes job.ld to the linker. The linkers of Rust and of GNU support it. A linker that the user has
/// chosen may not, so it is left alone; the default linker is tried first.
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
        // Not with -Wl, which splits a path at its commas.
        println!("cargo:rustc-link-arg=-T{directory}/job.ld");
    }
}

/// Links a small program with the script; `None` if that fails.
fn can_follow(script: &str) -> Option<()> {
    let directory = PathBuf::from(std::env::var_os("OUT_DIR")?);
    let (source, program) = (directory.join("trial.c"), directory.join("trial"));
    std::fs::write(&source, "int main(void) { return 0; }\n").ok()?;
    let linked =
        compiler().arg(format!("-T{script}")).arg(&source).arg("-o").arg(&program).output().ok()?;
    linked.status.success().then_some(())
}
