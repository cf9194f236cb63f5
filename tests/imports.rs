//! No two files import from each other, directly or through others. A module may use what the modules
//! around it declare.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};
use syn::{Attribute, Item, UseTree};

/// The path of a module in its crate; empty for the root.
type ModulePath = Vec<String>;

/// The modules of a crate that have a file of their own.
fn modules(source: &Path) -> BTreeMap<ModulePath, PathBuf> {
    let mut found = BTreeMap::new();
    let mut directories = vec![(source.to_owned(), ModulePath::new())];
    while let Some((directory, path)) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap().flatten() {
            let file = entry.path();
            let stem = file.file_stem().unwrap().to_string_lossy().into_owned();
            let inner = [&path[..], std::slice::from_ref(&stem)].concat();
            if file.is_dir() {
                directories.push((file, inner));
            } else if file.extension().is_some_and(|extension| extension == "rs") {
                match stem.as_str() {
                    "main" | "tests" => {}
                    "mod" | "lib" => drop(found.insert(path.clone(), file)),
                    _ => drop(found.insert(inner, file)),
                }
            }
        }
    }
    found
}

/// The paths that a file names, as written: what it imports, and other paths that begin with
/// `crate`, `self` or `super`. Tests and the insides of macros are left out.
struct Paths {
    /// The module of the file, or a module inside it.
    here: ModulePath,
    found: Vec<(ModulePath, Vec<String>)>,
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        let condition = attribute.parse_args::<syn::Path>();
        attribute.path().is_ident("cfg") && condition.is_ok_and(|path| path.is_ident("test"))
    })
}

impl Paths {
    fn import(&mut self, tree: &UseTree, before: &[String]) {
        let with = |name: &syn::Ident| [before, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.import(&path.tree, &with(&path.ident)),
            UseTree::Name(name) => self.found.push((self.here.clone(), with(&name.ident))),
            UseTree::Rename(name) => self.found.push((self.here.clone(), with(&name.ident))),
            UseTree::Glob(_) => self.found.push((self.here.clone(), before.to_vec())),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.import(tree, before)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item(&mut self, item: &'ast Item) {
        match item {
            Item::Mod(module) if is_test(&module.attrs) => {}
            Item::Mod(module) => {
                self.here.push(module.ident.to_string());
                visit::visit_item_mod(self, module);
                self.here.pop();
            }
            Item::Use(item) if is_test(&item.attrs) => {}
            Item::Use(item) => self.import(&item.tree, &[]),
            item => visit::visit_item(self, item),
        }
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let names: Vec<String> = path.segments.iter().map(|part| part.ident.to_string()).collect();
        if names.len() > 1 && ["crate", "self", "super"].contains(&names[0].as_str()) {
            self.found.push((self.here.clone(), names));
        }
        visit::visit_path(self, path);
    }
}

/// The module from which a path takes something; `None` if the path leads out of the crate.
fn target(
    here: &[String],
    names: &[String],
    modules: &BTreeMap<ModulePath, PathBuf>,
) -> Option<ModulePath> {
    let mut base = here.to_vec();
    let mut rest = names;
    match names[0].as_str() {
        "crate" => base.clear(),
        "self" => {}
        "super" => {}
        name if modules.contains_key(&[here, &[name.to_owned()]].concat()) => {}
        _ => return None,
    }
    while let Some(("crate" | "self" | "super", others)) =
        rest.split_first().map(|(first, others)| (first.as_str(), others))
    {
        if rest[0] == "super" {
            base.pop();
        }
        rest = others;
    }
    let whole = [&base[..], rest].concat();
    (0..=whole.len()).rev().map(|len| whole[..len].to_vec()).find(|path| modules.contains_key(path))
}

/// For each file of a crate, the files that it imports from. A module may use what the modules
/// around it declare: `super` is not counted.
fn imports(source: &Path) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    let modules = modules(source);
    let of = |(module, file): (&ModulePath, &PathBuf)| {
        let text = fs::read_to_string(file).unwrap();
        let mut paths = Paths { here: module.clone(), found: Vec::new() };
        paths.visit_file(&syn::parse_file(&text).unwrap());
        let targets = paths.found.iter().filter_map(|(here, names)| target(here, names, &modules));
        let others = targets.filter(|other| !module.starts_with(other));
        (file.clone(), others.map(|other| modules[&other].clone()).collect())
    };
    modules.iter().map(of).collect()
}

/// Removes the files that are in no circle: those that import from no other, and those from which
/// no other imports, until none is left to remove.
fn circles(
    mut imports: BTreeMap<PathBuf, BTreeSet<PathBuf>>,
) -> BTreeMap<PathBuf, BTreeSet<PathBuf>> {
    loop {
        let before = imports.len();
        let imported: BTreeSet<PathBuf> = imports.values().flatten().cloned().collect();
        imports.retain(|file, others| !others.is_empty() && imported.contains(file));
        let left: BTreeSet<PathBuf> = imports.keys().cloned().collect();
        imports.values_mut().for_each(|others| others.retain(|other| left.contains(other)));
        if imports.len() == before && imports.values().all(|others| !others.is_empty()) {
            return imports;
        }
    }
}

#[test]
fn no_files_import_from_each_other_in_a_circle() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let crates = fs::read_dir(root.join("crates")).unwrap().flatten();
    let sources = crates.map(|entry| entry.path().join("src")).chain([root.join("src")]);
    let mut arrows = 0;
    for source in sources.filter(|source| source.is_dir()) {
        let imports = imports(&source);
        arrows += imports.values().map(BTreeSet::len).sum::<usize>();
        let circles = circles(imports);
        assert!(circles.is_empty(), "circles in {}: {circles:#?}", source.display());
    }
    assert!(arrows > 300, "this check sees {arrows} imports only");
}

#[test]
fn a_circle_through_three_files_is_found_and_nothing_else() {
    let file = |name: &str| PathBuf::from(name);
    let arrows = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "b"), ("d", "e"), ("f", "f2")];
    let mut imports: BTreeMap<PathBuf, BTreeSet<PathBuf>> = BTreeMap::new();
    for (from, to) in arrows {
        imports.entry(file(from)).or_default().insert(file(to));
        imports.entry(file(to)).or_default();
    }
    let found: Vec<PathBuf> = circles(imports).into_keys().collect();
    assert_eq!(found, ["b", "c", "d"].map(file));
}
