//! Whether the source keeps to the layers that `src/lib.rs` lists: no module imports one of a higher layer, and no
//! modules import each other in a cycle.
//!
//! What a file imports is read from its paths: `use` declarations, and paths in code that begin with `crate`, `self`
//! or `super`. Code that only tests see does not count.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The layers, from the bottom up. A module may use those of its own layer and of the layers below.
const LAYERS: &[&[&str]] = &[
    &[
        "clock", "config", "event", "expiring", "interner", "metrics", "net", "outbound", "page",
        "quiet", "request", "shutdown", "spans", "sys", "text", "topic",
    ],
    &["auth", "refusals", "tls", "wire"],
    &["hub"],
    &["engine", "shard"],
    &["admin", "public"],
    &["cli", "server"],
];

/// The module that alone writes what clients read.
const WIRE: &str = "wire";

/// A module by its path from the crate's root: `["shard", "table"]`.
type Module = Vec<String>;

/// Top-level modules, with those that each imports and a file that does so.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

fn imports(root: &Path) -> Imports {
    let mut files = BTreeMap::new();
    collect(root, root, &mut files);
    let mut imports = Imports::new();
    for (module, path) in files {
        let text = std::fs::read_to_string(&path).unwrap();
        let file =
            syn::parse_file(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        let mut paths = Paths {
            module: module.clone(),
            found: BTreeSet::new(),
        };
        paths.visit_file(&file);
        let of_module = imports.entry(module[0].clone()).or_default();
        for found in paths.found.into_iter().filter(|found| *found != module[0]) {
            let by = || module.join("::");
            of_module.entry(found).or_insert_with(by);
        }
    }
    imports
}

/// The files below `directory`, by module. Those that only tests see are left out.
fn collect(root: &Path, directory: &Path, files: &mut BTreeMap<Module, PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_str().unwrap();
        if matches!(name, "tests" | "model" | "bench") {
            continue;
        }
        if path.is_dir() {
            collect(root, &path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && !matches!(name, "lib" | "main")
        {
            let mut module: Module = path
                .strip_prefix(root)
                .unwrap()
                .with_extension("")
                .iter()
                .map(|part| part.to_str().unwrap().to_owned())
                .collect();
            module.pop_if(|last| last == "mod");
            files.insert(module, path);
        }
    }
}

/// The top-level modules that a file names.
struct Paths {
    module: Module,
    found: BTreeSet<String>,
}

impl Paths {
    fn note(&mut self, segments: &[String]) {
        let mut from = match segments.first().map(String::as_str) {
            Some("crate") => Vec::new(),
            Some("self" | "super") => self.module.clone(),
            _ => return,
        };
        for segment in segments {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    from.pop();
                }
                _ => from.push(segment.clone()),
            }
        }
        self.found.extend(from.into_iter().next());
    }

    fn note_tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        let depth = before.len();
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.note_tree(&path.tree, before);
            }
            syn::UseTree::Name(name) => {
                before.push(name.ident.to_string());
                self.note(before);
            }
            syn::UseTree::Rename(rename) => {
                before.push(rename.ident.to_string());
                self.note(before);
            }
            syn::UseTree::Glob(_) => self.note(before),
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.note_tree(tree, before);
                }
            }
        }
        before.truncate(depth);
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute
                .meta
                .require_list()
                .is_ok_and(|list| list.tokens.to_string().contains("test"))
    })
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            self.note_tree(&item.tree, &mut Vec::new());
        }
    }

    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if is_for_tests(&item.attrs) {
            return;
        }
        self.module.push(item.ident.to_string());
        visit::visit_item_mod(self, item);
        self.module.pop();
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path
            .segments
            .iter()
            .map(|segment| segment.ident.to_string())
            .collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }
}

/// The texts in a file, without its comments and what only tests see.
struct Texts(Vec<String>);

impl Texts {
    fn note_literal(&mut self, literal: &syn::Lit) {
        match literal {
            syn::Lit::Str(text) => self.0.push(text.value()),
            syn::Lit::ByteStr(text) => {
                self.0.push(String::from_utf8_lossy(&text.value()).into());
            }
            _ => {}
        }
    }

    /// What a macro is called with: it may be no expression.
    fn note_tokens(&mut self, tokens: proc_macro2::TokenStream) {
        for token in tokens {
            match token {
                proc_macro2::TokenTree::Group(group) => self.note_tokens(group.stream()),
                proc_macro2::TokenTree::Literal(literal) => {
                    self.note_literal(&syn::Lit::new(literal));
                }
                _ => {}
            }
        }
    }
}

impl<'ast> Visit<'ast> for Texts {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_attribute(&mut self, _: &'ast syn::Attribute) {}

    fn visit_lit(&mut self, literal: &'ast syn::Lit) {
        self.note_literal(literal);
    }

    fn visit_macro(&mut self, called: &'ast syn::Macro) {
        self.note_tokens(called.tokens.clone());
    }
}

/// Whether a text is a part of what an EventSource reads, or of a chunked body.
fn is_for_the_wire(text: &str) -> bool {
    const FIELDS: [&str; 4] = ["data: ", "event: ", "id: ", "retry: "];
    let begins = |line: &str| FIELDS.iter().any(|field| line.starts_with(field));
    let is_line = FIELDS.contains(&text) || (text.ends_with('\n') && text.lines().any(begins));
    is_line || text.contains("0\r\n\r\n") || text.contains(":x}\r\n")
}

fn layer(module: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&module));
    layer.unwrap_or_else(|| {
        panic!("`{module}` has no layer: give it one in LAYERS and in src/lib.rs")
    })
}

fn source() -> Imports {
    imports(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"))
}

#[test]
fn no_module_imports_one_of_a_higher_layer() {
    for (module, imported) in source() {
        for (imported, by) in imported {
            assert!(
                layer(&imported) <= layer(&module),
                "{by} imports {imported}"
            );
        }
    }
}

#[test]
fn no_modules_import_each_other_in_a_cycle() {
    let imports = source();
    // Those that import nothing of what is left are taken away, until nothing is left or all are in cycles.
    let mut left: BTreeSet<&str> = imports.keys().map(String::as_str).collect();
    loop {
        let imports_some = |module: &&str| {
            imports[*module]
                .keys()
                .any(|imported| left.contains(imported.as_str()))
        };
        let rest: BTreeSet<&str> = left.iter().copied().filter(imports_some).collect();
        if rest.len() == left.len() {
            break;
        }
        left = rest;
    }
    assert!(left.is_empty(), "in cycles, or above one: {left:?}");
}

#[test]
fn only_the_wire_knows_what_clients_read() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = BTreeMap::new();
    collect(&root, &root, &mut files);
    let mut in_wire = 0;
    for (module, path) in files {
        let file = syn::parse_file(&std::fs::read_to_string(&path).unwrap()).unwrap();
        let mut texts = Texts(Vec::new());
        texts.visit_file(&file);
        let found: Vec<_> = texts
            .0
            .iter()
            .filter(|text| is_for_the_wire(text))
            .collect();
        if module[0] == WIRE {
            in_wire += found.len();
        } else {
            assert!(found.is_empty(), "{}: {found:?}", path.display());
        }
    }
    assert!(in_wire > 0, "this test finds nothing any more");
}

#[test]
fn the_table_in_lib_rs_names_every_module() {
    let lib = include_str!("../src/lib.rs");
    for module in LAYERS.iter().copied().flatten() {
        let row = lib
            .lines()
            .find(|line| line.starts_with("//! | ") && line.contains(&format!("`{module}`")));
        assert!(row.is_some(), "{module}");
    }
}
