//! Checks what the pages in `docs/` say about the source: files and headings that they link to exist,
//! and a name that follows a link to a source file is declared there.
//!
//! Such a name is in backticks, separated from the link only by `|`, commas, colons and "and":
//! ``[hub/publishing.rs](../src/hub/publishing.rs) | `Hub::publish`, `label` ``.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{self, Visit};

/// The page with the table of where each behaviour is.
const ARCHITECTURE: &str = "docs/architecture.md";
/// The table has at least this many names; otherwise, this test no longer finds them.
const MIN_NAMES: usize = 25;

/// A link in a page.
struct Link {
    /// Page and line, for messages.
    at: String,
    /// The linked file.
    file: PathBuf,
    /// The linked heading, if any.
    anchor: Option<String>,
    /// The names after the link.
    names: Vec<String>,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The pages, by their path from the root.
fn pages() -> Vec<String> {
    let mut pages: Vec<String> = ["README.md", "CONTRIBUTING.md", "SECURITY.md"]
        .map(str::to_owned)
        .into();
    for folder in ["docs", "docs/how-to"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if Path::new(&name).extension().is_some_and(|it| it == "md") {
                pages.push(format!("{folder}/{name}"));
            }
        }
    }
    pages
}

/// The lines of a page that are not in a code block, numbered from 1.
fn prose(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut is_code = false;
    (1..).zip(text.lines()).filter(move |(_, line)| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// The links of a page to files of this repository.
fn links(page: &str) -> Vec<Link> {
    let text = std::fs::read_to_string(root().join(page)).unwrap();
    let mut links = Vec::new();
    for (number, line) in prose(&text) {
        for (place, _) in line.match_indices("](") {
            let rest = &line[place + 2..];
            let Some((target, after)) = rest.split_once(')') else {
                continue;
            };
            if target.contains("://") {
                continue;
            }
            let (path, anchor) = target.split_once('#').unwrap_or((target, ""));
            let file = if path.is_empty() {
                root().join(page)
            } else {
                root().join(page).parent().unwrap().join(path)
            };
            links.push(Link {
                at: format!("{page}:{number}"),
                file,
                anchor: (!anchor.is_empty()).then(|| anchor.to_owned()),
                names: names(after),
            });
        }
    }
    links
}

/// The names in backticks that `text` begins with.
fn names(mut text: &str) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        text = text.trim_start_matches([' ', '|', ',', ':']);
        text = text.strip_prefix("and ").unwrap_or(text);
        let Some((name, rest)) = text.strip_prefix('`').and_then(|text| text.split_once('`'))
        else {
            return names;
        };
        names.push(name.to_owned());
        text = rest;
    }
}

/// The anchor of a heading, as GitHub and other forges generate it.
fn anchor(heading: &str) -> String {
    let kept = |letter: &char| letter.is_alphanumeric() || [' ', '-', '_'].contains(letter);
    let letters = heading.trim().to_lowercase();
    letters
        .chars()
        .filter(kept)
        .collect::<String>()
        .replace(' ', "-")
}

fn anchors(file: &Path) -> BTreeSet<String> {
    let text = std::fs::read_to_string(file).unwrap();
    let headings = prose(&text).filter_map(|(_, line)| line.strip_prefix('#'));
    headings
        .map(|line| anchor(line.trim_start_matches('#')))
        .collect()
}

/// The names that a source file declares: `name`, and `Type::name` for members of a type.
#[derive(Default)]
struct Declared {
    names: BTreeSet<String>,
    of_type: Option<String>,
}

impl Declared {
    fn in_file(file: &Path) -> BTreeSet<String> {
        let mut declared = Self::default();
        declared.visit_file(&syn::parse_file(&std::fs::read_to_string(file).unwrap()).unwrap());
        declared.names
    }

    fn note(&mut self, name: &syn::Ident) {
        self.names.insert(name.to_string());
        if let Some(of_type) = &self.of_type {
            self.names.insert(format!("{of_type}::{name}"));
        }
    }

    fn inside(&mut self, of_type: String, visit: impl FnOnce(&mut Self)) {
        let outer = self.of_type.replace(of_type);
        visit(self);
        self.of_type = outer;
    }
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.note(&item.sig.ident);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.note(&item.sig.ident);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        self.note(&item.sig.ident);
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.note(&item.ident);
    }

    fn visit_item_const(&mut self, item: &'ast syn::ItemConst) {
        self.note(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.note(&item.ident);
        self.inside(item.ident.to_string(), |inner| {
            visit::visit_item_enum(inner, item);
        });
    }

    fn visit_variant(&mut self, variant: &'ast syn::Variant) {
        self.note(&variant.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.note(&item.ident);
        self.inside(item.ident.to_string(), |inner| {
            visit::visit_item_trait(inner, item);
        });
    }

    fn visit_item_impl(&mut self, item: &'ast syn::ItemImpl) {
        if let syn::Type::Path(path) = &*item.self_ty
            && let Some(last) = path.path.segments.last()
        {
            self.inside(last.ident.to_string(), |inner| {
                visit::visit_item_impl(inner, item);
            });
        }
    }

    fn visit_item_macro(&mut self, item: &'ast syn::ItemMacro) {
        if let Some(name) = &item.ident {
            self.note(name);
        }
    }

    /// Names in test modules do not count.
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if item.ident != "tests" {
            visit::visit_item_mod(self, item);
        }
    }
}

#[test]
fn links_lead_to_files_and_headings() {
    let mut wrong = Vec::new();
    for link in pages().iter().flat_map(|page| links(page)) {
        let is_page = link.file.extension().is_some_and(|it| it == "md");
        if !link.file.exists() {
            wrong.push(format!("{}: no {}", link.at, link.file.display()));
        } else if let Some(anchor) = link.anchor.filter(|_| is_page)
            && !anchors(&link.file).contains(&anchor)
        {
            wrong.push(format!("{}: no heading #{anchor}", link.at));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn names_after_a_link_are_declared_in_the_file() {
    let mut declared = BTreeMap::new();
    let mut wrong = Vec::new();
    for link in pages().iter().flat_map(|page| links(page)) {
        let is_source = link.file.extension().is_some_and(|it| it == "rs") && link.file.exists();
        for name in link.names.iter().filter(|_| is_source) {
            let names = declared
                .entry(link.file.clone())
                .or_insert_with_key(|file| Declared::in_file(file));
            if !names.contains(name) {
                wrong.push(format!(
                    "{}: no `{name}` in {}",
                    link.at,
                    link.file.display()
                ));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_table_of_behaviours_is_read() {
    let links = links(ARCHITECTURE);
    let names: usize = links.iter().map(|link| link.names.len()).sum();
    assert!(names >= MIN_NAMES, "{names}");
}
