//! The text of an ABI: everything of hotshoe-abi's sources that a plugin in the field was compiled with, one line each.
//!
//! It comes from the sources and not from abi_stable's description of them, because that has no argument names and no
//! constants: a plugin that sends 3 for what means 4 by now passes every layout check (PITFALLS, tried).

use quote::ToTokens;
use std::{fs, path::Path};
use syn::{Attribute, Fields, ImplItem, Item, Meta, TraitItem, Visibility};

/// One item and what it consists of, in order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// The item's own line.
    pub(super) head: String,
    /// Its members' lines.
    pub(super) members: Vec<String>,
}

impl Group {
    /// What makes it the same item in two versions: kind, module and name.
    pub(super) fn name(&self) -> &str {
        if self.head.starts_with("impl ") {
            return &self.head;
        }
        let (kind, rest) = self.head.split_once(' ').unwrap();
        let name = rest.split([' ', '<']).next().unwrap().trim_end_matches(':');
        &self.head[..kind.len() + 1 + name.len()]
    }
}

/// The listing of the crate in `folder`, with what its manifest pins.
pub(super) fn of_crate(folder: &Path) -> Vec<Group> {
    let mut groups = Vec::new();
    read_module(
        &folder.join("src/lib.rs"),
        &folder.join("src"),
        "",
        &mut groups,
    );
    groups.sort_by(|a, b| a.head.cmp(&b.head));
    groups
}

fn read_module(file: &Path, folder: &Path, path: &str, groups: &mut Vec<Group>) {
    let text =
        fs::read_to_string(file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let parsed = syn::parse_file(&text).unwrap();
    for item in &parsed.items {
        match item {
            Item::Mod(module) if module.content.is_none() => {
                let name = module.ident.to_string();
                // What stands in a private module is re-exported: which file that is, nobody sees.
                let path = match module.vis {
                    Visibility::Public(_) => join(path, &name),
                    _ => path.to_owned(),
                };
                read_module(
                    &folder.join(format!("{name}.rs")),
                    &folder.join(&name),
                    &path,
                    groups,
                );
            }
            _ => list(item, path, groups),
        }
    }
}

/// The listing of sources that are one text, for tests of what is done with a listing.
pub(super) fn of_text(text: &str) -> Vec<Group> {
    let mut groups = Vec::new();
    for item in syn::parse_file(text).unwrap().items {
        list(&item, "", &mut groups);
    }
    groups.sort_by(|a, b| a.head.cmp(&b.head));
    groups
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() {
        name.to_owned()
    } else {
        format!("{path}::{name}")
    }
}

fn list(item: &Item, path: &str, groups: &mut Vec<Group>) {
    let mut group = |attributes: &[Attribute], head: String, members: Vec<String>| {
        groups.push(Group {
            head: head + &attributes_of(attributes),
            members,
        });
    };
    match item {
        Item::Struct(item) => {
            let (name, generics) = (join(path, &item.ident.to_string()), text(&item.generics));
            group(
                &item.attrs,
                format!("struct {name}{generics}"),
                fields(&item.fields),
            );
        }
        Item::Enum(item) => {
            let (name, generics) = (join(path, &item.ident.to_string()), text(&item.generics));
            let variants = item
                .variants
                .iter()
                .map(|variant| attributed(&variant.attrs, text_bare(variant)));
            group(
                &item.attrs,
                format!("enum {name}{generics}"),
                variants.collect(),
            );
        }
        Item::Trait(item) => {
            let (name, bounds) = (join(path, &item.ident.to_string()), text(&item.supertraits));
            let methods = item.items.iter().map(|member| match member {
                TraitItem::Fn(method) => {
                    let default = if method.default.is_some() {
                        " = default"
                    } else {
                        ""
                    };
                    attributed(&method.attrs, text(&method.sig) + default)
                }
                other => text(other),
            });
            group(
                &item.attrs,
                format!("trait {name}: {bounds}"),
                methods.collect(),
            );
        }
        Item::Type(item) => {
            let (name, generics) = (join(path, &item.ident.to_string()), text(&item.generics));
            group(
                &[],
                format!("type {name}{generics} = {}", text(&item.ty)),
                Vec::new(),
            );
        }
        Item::Const(item) => {
            let name = join(path, &item.ident.to_string());
            let (ty, value) = (text(&item.ty), text(&item.expr));
            group(&[], format!("const {name}: {ty} = {value}"), Vec::new());
        }
        Item::Impl(item) => {
            let of = item
                .trait_
                .as_ref()
                .map_or(String::new(), |(_, of, _)| format!("{} for ", text(of)));
            let members = item.items.iter().map(|member| match member {
                ImplItem::Const(item) => format!(
                    "const {}: {} = {}",
                    item.ident,
                    text(&item.ty),
                    text(&item.expr)
                ),
                ImplItem::Fn(method) => text(&method.sig),
                other => text(other),
            });
            let head = format!("impl {of}{}", text(&item.self_ty));
            groups.push(Group {
                head,
                members: members.collect(),
            });
        }
        Item::Mod(item) => {
            let path = join(path, &item.ident.to_string());
            for item in item.content.iter().flat_map(|(_, items)| items) {
                list(item, &path, groups);
            }
        }
        // Where a name comes from is no part of what was compiled.
        Item::Use(_) => {}
        other => panic!("the listing does not know `{}`", text(other)),
    }
}

fn fields(fields: &Fields) -> Vec<String> {
    let line = |field: &syn::Field| {
        let name = field
            .ident
            .as_ref()
            .map_or(String::new(), |name| format!("{name}: "));
        attributed(&field.attrs, name + &text(&field.ty))
    };
    fields.iter().map(line).collect()
}

fn attributed(attributes: &[Attribute], line: String) -> String {
    line + &attributes_of(attributes)
}

/// The attributes that decide a layout, behind the line.
fn attributes_of(attributes: &[Attribute]) -> String {
    let decides = |attribute: &&Attribute| {
        let path = attribute.path();
        path.is_ident("repr") || path.is_ident("sabi") || path.is_ident("sabi_trait")
    };
    let texts = attributes
        .iter()
        .filter(decides)
        .map(|attribute| match &attribute.meta {
            Meta::Path(path) => format!(" #[{}]", text(path)),
            meta => format!(" #[{}]", text(meta)),
        });
    texts.collect()
}

/// An enum's variant without its attributes.
fn text_bare(variant: &syn::Variant) -> String {
    let mut variant = variant.clone();
    variant.attrs.clear();
    text(&variant)
}

/// Tokens as a person would write them: spaces only where they separate words.
fn text(tokens: &impl ToTokens) -> String {
    let spaced = tokens.to_token_stream().to_string();
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut text = String::new();
    for word in words {
        let before = text.chars().next_back();
        let is_word = |c: char| c.is_alphanumeric() || c == '_' || c == '"';
        let (Some(before), Some(first)) = (before, word.chars().next()) else {
            text.push_str(word);
            continue;
        };
        let separate = match (before, first) {
            (',' | ':' | ';' | '=', ':') => false,
            (',' | ';' | '=' | '+', _) | (_, '=' | '+' | '{' | '}') | ('{', _) => true,
            (':', _) => !text.ends_with("::"),
            ('>', _) if text.ends_with("->") => true,
            (_, '-') => true,
            _ => is_word(before) && (is_word(first) || first == '\'' || first == '&'),
        };
        if separate {
            text.push(' ');
        }
        text.push_str(word);
    }
    text
}

/// The listing as it is kept.
pub(super) fn print(groups: &[Group]) -> String {
    let mut text = String::new();
    for group in groups {
        text.push_str(&group.head);
        text.push('\n');
        for member in &group.members {
            text.push_str("    ");
            text.push_str(member);
            text.push('\n');
        }
    }
    text
}

/// What [`print`] wrote; lines that begin with `#` are for people.
pub(super) fn parse(text: &str) -> Vec<Group> {
    let mut groups: Vec<Group> = Vec::new();
    for line in text
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty())
    {
        match (line.strip_prefix("    "), groups.last_mut()) {
            (Some(member), Some(group)) => group.members.push(member.to_owned()),
            _ => groups.push(Group {
                head: line.to_owned(),
                members: Vec::new(),
            }),
        }
    }
    groups
}
