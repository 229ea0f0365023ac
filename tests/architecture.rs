//! Checks the structure of the source. No module imports one of a higher layer, and there are no import cycles among
//! modules or among the files of a module. All modules have the same layout, `src/lib.rs` lists the public names, and a
//! type name is defined only once. Contract tests are skipped by the names of their modules.
//!
//! Imports are read from paths: `use` declarations, and paths in code that begin with `crate`, `self` or `super`. Code
//! for tests is ignored.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use syn::visit::{self, Visit};

/// The layers, from the bottom up. A module may use modules of its own layer and of lower ones.
const LAYERS: &[&[&str]] = &[
    &[
        "base64_bytes",
        "wiped",
        "clock",
        "config",
        "event",
        "expiring",
        "chunked_slab",
        "interner",
        "metrics",
        "net",
        "outbound",
        "page",
        "quiet",
        "request",
        "shutdown",
        "spans",
        "sys",
        "text",
        "topic",
        "version",
    ],
    &["auth", "refusals", "tls", "wire"],
    &["hub"],
    &["engine", "shard"],
    &["admin", "public"],
    &["cli", "server"],
];

/// The only module that writes the bytes that clients read.
const WIRE: &str = "wire";

/// A module by its path from the crate's root: `["shard", "table"]`.
type Module = Vec<String>;

/// For each top-level module, the modules that it imports, each with one of the importing files.
type Imports = BTreeMap<String, BTreeMap<String, String>>;

/// The crate's files by module, without those for tests.
struct Source {
    files: BTreeMap<Module, syn::File>,
}

impl Source {
    fn read() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut source = Self {
            files: BTreeMap::new(),
        };
        source.collect(&root, &root);
        source
    }

    fn collect(&mut self, root: &Path, directory: &Path) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            if matches!(name, "tests" | "model" | "bench") {
                continue;
            }
            if path.is_dir() {
                self.collect(root, &path);
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
                let text = std::fs::read_to_string(&path).unwrap();
                let file = syn::parse_file(&text)
                    .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                self.files.insert(module, file);
            }
        }
    }

    /// The paths that a file names, from the crate's root.
    fn paths(&self, module: &Module) -> BTreeSet<Module> {
        let mut paths = Paths {
            source: self,
            module: module.clone(),
            found: BTreeSet::new(),
        };
        paths.visit_file(&self.files[module]);
        paths.found
    }

    fn imports(&self) -> Imports {
        let mut imports = Imports::new();
        for module in self.files.keys() {
            let of_module = imports.entry(module[0].clone()).or_default();
            for path in self.paths(module) {
                let Some(found) = path.first().filter(|found| **found != module[0]) else {
                    continue;
                };
                let by = || module.join("::");
                of_module.entry(found.clone()).or_insert_with(by);
            }
        }
        imports
    }

    /// The files that a file depends on. Names are followed through re-exports to their declaration.
    fn dependencies(&self, module: &Module) -> BTreeSet<Module> {
        let paths = self.paths(module);
        let declared = paths.iter().filter_map(|path| self.declared_in(path, 0));
        declared.filter(|found| found != module).collect()
    }

    fn declared_in(&self, path: &[String], depth: usize) -> Option<Module> {
        let length = (1..=path.len())
            .rev()
            .find(|length| self.files.contains_key(&path[..*length]))?;
        let (module, rest) = path.split_at(length);
        let re_exported = rest
            .first()
            .filter(|_| depth < 8)
            .and_then(|name| self.re_export(module, name));
        match re_exported {
            Some(mut further) => {
                further.extend_from_slice(&rest[1..]);
                self.declared_in(&further, depth + 1)
            }
            None => Some(module.to_vec()),
        }
    }

    /// The path that a `use` in `module` imports as `name`.
    fn re_export(&self, module: &[String], name: &str) -> Option<Module> {
        self.files[module].items.iter().find_map(|item| {
            let syn::Item::Use(item) = item else {
                return None;
            };
            let mut names = Vec::new();
            name_tree(&item.tree, &mut Vec::new(), &mut names);
            let (_, path) = names.into_iter().find(|(called, _)| called == name)?;
            self.absolute(module, &path)
        })
    }

    /// A path in `module`, from the crate's root; `None` if it leads to another crate.
    fn absolute(&self, module: &[String], path: &[String]) -> Option<Module> {
        let first = path.first()?;
        let mut from = match first.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => module.to_vec(),
            _ => {
                let child = [module, &path[..1]].concat();
                self.files.contains_key(&child).then(|| module.to_vec())?
            }
        };
        for segment in path {
            match segment.as_str() {
                "crate" | "self" => {}
                "super" => {
                    from.pop();
                }
                _ => from.push(segment.clone()),
            }
        }
        Some(from)
    }

    /// The names in a module that another crate can use, as paths from the module.
    fn public_names(&self, module: &[String]) -> BTreeSet<String> {
        use syn::Item;
        let is_public = |visibility: &syn::Visibility, attributes: &[syn::Attribute]| {
            matches!(visibility, syn::Visibility::Public(_)) && !is_for_tests(attributes)
        };
        let mut public = BTreeSet::new();
        for item in &self.files[module].items {
            let (visibility, attributes, name) = match item {
                Item::Const(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Enum(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Fn(item) => (&item.vis, &item.attrs, &item.sig.ident),
                Item::Static(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Struct(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Trait(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Type(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Mod(item) => (&item.vis, &item.attrs, &item.ident),
                Item::Use(item) if is_public(&item.vis, &item.attrs) => {
                    let mut names = Vec::new();
                    name_tree(&item.tree, &mut Vec::new(), &mut names);
                    public.extend(names.into_iter().map(|(name, _)| name));
                    continue;
                }
                _ => continue,
            };
            if !is_public(visibility, attributes) {
                continue;
            }
            if matches!(item, Item::Mod(_)) {
                let inner = [module, &[name.to_string()]].concat();
                let names = self.public_names(&inner).into_iter();
                public.extend(names.map(|inner| format!("{name}::{inner}")));
            } else {
                public.insert(name.to_string());
            }
        }
        public
    }

    /// Returns true if a file only declares modules and re-exports names.
    fn only_declares(&self, module: &Module) -> bool {
        let declares = |item: &syn::Item| match item {
            syn::Item::Use(_) => true,
            syn::Item::Mod(item) => item.content.is_none(),
            _ => false,
        };
        self.files[module].items.iter().all(declares)
    }
}

/// The names that a `use` declares, each with its path.
fn name_tree(tree: &syn::UseTree, before: &mut Vec<String>, names: &mut Vec<(String, Module)>) {
    let depth = before.len();
    match tree {
        syn::UseTree::Path(path) => {
            before.push(path.ident.to_string());
            name_tree(&path.tree, before, names);
        }
        syn::UseTree::Name(name) if name.ident == "self" => {
            names.extend(before.last().map(|last| (last.clone(), before.clone())));
        }
        syn::UseTree::Name(name) => {
            before.push(name.ident.to_string());
            names.push((name.ident.to_string(), before.clone()));
        }
        syn::UseTree::Rename(rename) => {
            before.push(rename.ident.to_string());
            names.push((rename.rename.to_string(), before.clone()));
        }
        syn::UseTree::Glob(_) => names.push(("*".to_owned(), before.clone())),
        syn::UseTree::Group(group) => {
            for tree in &group.items {
                name_tree(tree, before, names);
            }
        }
    }
    before.truncate(depth);
}

/// The paths that a file names.
struct Paths<'a> {
    source: &'a Source,
    module: Module,
    found: BTreeSet<Module>,
}

impl Paths<'_> {
    fn note(&mut self, path: &[String]) {
        self.found.extend(self.source.absolute(&self.module, path));
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

impl<'ast> Visit<'ast> for Paths<'_> {
    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        if !is_for_tests(&item.attrs) {
            let mut names = Vec::new();
            name_tree(&item.tree, &mut Vec::new(), &mut names);
            for (_, path) in names {
                self.note(&path);
            }
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

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_impl(self, item);
        }
    }

    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_fn(self, item);
        }
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        if !is_for_tests(&item.attrs) {
            visit::visit_impl_item_fn(self, item);
        }
    }

    /// `pub(super)` imports nothing.
    fn visit_visibility(&mut self, _: &'ast syn::Visibility) {}

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

/// The string literals in a file, without comments and code for tests.
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

    /// The arguments of a macro, which need not be expressions.
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

/// Returns true if a text is part of an event stream or of a chunked body.
fn is_for_the_wire(text: &str) -> bool {
    const FIELDS: [&str; 4] = ["data: ", "event: ", "id: ", "retry: "];
    let begins = |line: &str| FIELDS.iter().any(|field| line.starts_with(field));
    let is_line = FIELDS.contains(&text) || (text.ends_with('\n') && text.lines().any(begins));
    is_line || text.contains("0\r\n\r\n") || text.contains(":x}\r\n")
}

/// The types of a file that other files can name.
fn visible_types(file: &syn::File) -> Vec<String> {
    use syn::Item;
    let mut types = Vec::new();
    for item in &file.items {
        let (visibility, attributes, name) = match item {
            Item::Enum(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Struct(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Trait(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Type(item) => (&item.vis, &item.attrs, &item.ident),
            Item::Union(item) => (&item.vis, &item.attrs, &item.ident),
            _ => continue,
        };
        let is_private = match visibility {
            syn::Visibility::Inherited => true,
            syn::Visibility::Restricted(to) => to.path.is_ident("self"),
            syn::Visibility::Public(_) => false,
        };
        if !is_private && !is_for_tests(attributes) {
            types.push(name.to_string());
        }
    }
    types
}

fn layer(module: &str) -> usize {
    let layer = LAYERS.iter().position(|layer| layer.contains(&module));
    layer.unwrap_or_else(|| {
        panic!("`{module}` has no layer: give it one in LAYERS and in src/lib.rs")
    })
}

#[test]
fn no_module_imports_one_of_a_higher_layer() {
    for (module, imported) in Source::read().imports() {
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
    let imports = Source::read().imports();
    let modules = imports.keys().cloned().collect();
    let cycles = in_cycles(&modules, |module| imports[module].keys().cloned().collect());
    assert!(cycles.is_empty(), "{cycles:?}");
}

/// Modules whose files still import each other in cycles.
const CYCLIC: &[&str] = &[];

#[test]
fn the_files_of_a_module_do_not_import_each_other_in_cycles() {
    let source = Source::read();
    let mut modules: BTreeMap<&str, BTreeSet<Module>> = BTreeMap::new();
    for file in source.files.keys() {
        let files = modules.entry(&file[0]).or_default();
        if !source.only_declares(file) {
            files.insert(file.clone());
        }
    }
    for (module, files) in modules {
        let cycles = in_cycles(&files, |file| source.dependencies(file));
        let lines = cycles.iter().map(|file| {
            let among = source.dependencies(file).into_iter();
            let among: Vec<_> = among
                .filter(|other| cycles.contains(other))
                .map(|other| other.join("::"))
                .collect();
            format!("{} imports {}", file.join("::"), among.join(", "))
        });
        let lines: Vec<_> = lines.collect();
        assert_eq!(
            CYCLIC.contains(&module),
            !lines.is_empty(),
            "`{module}` has to be in CYCLIC if, and only if, it has cycles: {lines:#?}"
        );
    }
}

/// The keys that are in a cycle, or on a path between two cycles.
fn in_cycles<Key: Ord + Clone>(
    all: &BTreeSet<Key>,
    imports: impl Fn(&Key) -> BTreeSet<Key>,
) -> BTreeSet<Key> {
    let mut edges: Vec<(Key, Key)> = Vec::new();
    for from in all {
        let known = imports(from).into_iter().filter(|to| all.contains(to));
        edges.extend(known.map(|to| (from.clone(), to)));
    }
    // Remove keys that import none of the rest or are imported by none of it, until nothing changes.
    loop {
        let importing: BTreeSet<Key> = edges.iter().map(|(from, _)| from.clone()).collect();
        let imported: BTreeSet<Key> = edges.iter().map(|(_, to)| to.clone()).collect();
        let before = edges.len();
        edges.retain(|(from, to)| imported.contains(from) && importing.contains(to));
        if edges.len() == before {
            return importing;
        }
    }
}

#[test]
fn only_the_wire_module_writes_the_event_stream() {
    let mut in_wire = 0;
    for (module, file) in Source::read().files {
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
            assert!(found.is_empty(), "{}: {found:?}", module.join("::"));
        }
    }
    assert!(in_wire > 0, "this test finds nothing any more");
}

#[test]
fn a_folder_has_several_files_and_its_mod_rs_only_declares() {
    let source = Source::read();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut wrong = Vec::new();
    for module in source.files.keys() {
        let is_inside = |file: &&Module| file.len() == module.len() + 1 && file.starts_with(module);
        let files = source.files.keys().filter(is_inside).count();
        let is_folder = root.join(module.join("/")).join("mod.rs").exists();
        let what = match (is_folder, files) {
            (false, 0) => continue,
            (false, _) => "belongs in a folder with a mod.rs",
            (true, 0 | 1) => "has a folder for a single file",
            (true, _) if source.only_declares(module) => continue,
            (true, _) => "has code in its mod.rs",
        };
        wrong.push(format!("{} {what}", module.join("::")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn public_names_are_listed_in_lib_rs() {
    let source = Source::read();
    let mut listed = String::new();
    for line in include_str!("../src/lib.rs").lines() {
        if let Some(comment) = line.strip_prefix("// ") {
            listed.push_str(comment);
            listed.push(' ');
        } else if let Some(module) = line.strip_prefix("pub mod ") {
            let module = module.trim_end_matches(';');
            let (_, names) = listed.split_once(": ").unwrap_or_default();
            let names: BTreeSet<String> = names.split(',').map(|it| it.trim().to_owned()).collect();
            assert_eq!(source.public_names(&[module.to_owned()]), names, "{module}");
            listed.clear();
        } else {
            listed.clear();
        }
    }
}

/// Sections of the configuration are exempt: each has the name of its table in `idlewild.toml`, which users know
/// (`[tls]` is `config::Tls`), and code that uses another type of that name imports it with the module's name. They
/// are declared by the macro `section!`, so they are not among the types that this test finds.
#[test]
fn a_type_name_that_other_files_see_is_defined_once() {
    let mut defined: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (module, file) in Source::read().files {
        for name in visible_types(&file) {
            defined.entry(name).or_default().push(module.join("::"));
        }
    }
    assert!(defined.len() > 100, "this test finds no types any more");
    defined.retain(|_, modules| modules.len() > 1);
    let clashes: Vec<String> = defined
        .iter()
        .map(|(name, modules)| format!("{name}: {}", modules.join(", ")))
        .collect();
    assert!(clashes.is_empty(), "names of several types: {clashes:#?}");
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

/// `scripts/check` skips a listed module by its name, wherever it is in a test's path.
#[test]
fn contract_tests_that_run_over_one_transport_are_modules_that_no_other_name_ends_with() {
    let mut names = Vec::new();
    files_in(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/contract"),
        &mut names,
    );
    let listed = include_str!("contract/once").lines();
    for module in listed.filter(|line| !line.starts_with('#')) {
        let affected: Vec<_> = names.iter().filter(|name| name.ends_with(module)).collect();
        assert_eq!(affected, [module], "tests/contract/once: {module}");
    }
}

/// The names of the Rust files in a directory.
fn files_in(directory: &Path, names: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files_in(&path, names);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            names.push(path.file_stem().unwrap().to_str().unwrap().to_owned());
        }
    }
}
