//! The TypeScript declarations of what clients read, made from the Rust types.

use std::collections::BTreeMap;

use ts_rs::{Config, TS, TypeVisitor};

/// The width up to which a declaration, or a part of it, stays on one line.
const LINE_CHARS_MAX: usize = 110;

/// Declarations, each once, in the order of their names.
///
/// ```
/// use mainstay_runtime::clock::WallTime;
/// use mainstay_runtime::typescript::Declarations;
///
/// let mut declarations = Declarations::default();
/// assert_eq!(declarations.add::<Vec<WallTime>>(), "Array<WallTime>");
/// assert!(declarations.to_text().contains("export type WallTime = string;"));
/// ```
pub struct Declarations {
    config: Config,
    texts: BTreeMap<String, String>,
}

impl Default for Declarations {
    fn default() -> Self {
        // Numbers are read with `JSON.parse`.
        Self { config: Config::new().with_large_int("number"), texts: BTreeMap::new() }
    }
}

impl Declarations {
    /// Adds a type, and those that it is made of. Returns the type's name.
    pub fn add<T: TS + ?Sized + 'static>(&mut self) -> String {
        self.visit::<T>();
        T::visit_generics(self);
        T::name(&self.config)
    }

    /// Adds a declaration that no Rust type stands for. Its name may have parameters.
    pub fn define(&mut self, docs: &str, name: &str, definition: &str) {
        self.insert(docs, name, definition);
    }

    fn insert(&mut self, docs: &str, head: &str, definition: &str) {
        let name = head.split('<').next().unwrap_or(head);
        let docs = if docs.is_empty() { String::new() } else { format!("{}\n", format_comment(docs, "")) };
        let text = format!("{docs}export type {head} = {};\n", format_type(definition));
        self.texts.insert(name.to_owned(), text.replace("= \n", "=\n").replace(": \n", ":\n"));
    }

    /// Returns all declarations, as the text of a module.
    #[must_use]
    pub fn to_text(&self) -> String {
        self.texts.values().map(String::as_str).collect::<Vec<_>>().join("\n")
    }
}

impl TypeVisitor for Declarations {
    fn visit<T: TS + 'static + ?Sized>(&mut self) {
        // A type without a file of its own is one of the language, or wraps others.
        if T::output_path().is_none() {
            return;
        }
        let name = T::ident(&self.config);
        if self.texts.contains_key(&name) {
            return;
        }
        let declaration = T::decl(&self.config);
        let declaration = declaration.trim_start_matches("type ").trim_end_matches(';');
        let (head, definition) = declaration.split_once(" = ").unwrap_or((declaration, "unknown"));
        let docs = T::docs().unwrap_or_default();
        self.insert(docs.trim().trim_start_matches("/**").trim_end_matches("*/"), head, definition);
        T::visit_dependencies(self);
    }
}

/// Breaks a type over lines: a member or an alternative each, unless all fit in one.
fn format_type(text: &str) -> String {
    format_at(text.trim().trim_end_matches(','), "")
}

fn format_at(text: &str, indent: &str) -> String {
    let text = text.trim();
    if !text.contains("/*") && text.len() + indent.len() <= LINE_CHARS_MAX {
        return text.replace(", }", " }");
    }
    let deeper = format!("{indent}  ");
    let alternatives = split(text, " | ");
    if alternatives.len() > 1 {
        let lines = alternatives.iter().map(|part| format!("\n{deeper}| {}", format_at(part, &deeper)));
        return lines.collect();
    }
    let parts = split(text, " & ");
    if parts.len() > 1 {
        return parts.iter().map(|part| format_at(part, indent)).collect::<Vec<_>>().join(" & ");
    }
    match (text.strip_prefix('(').and_then(|text| text.strip_suffix(')')), inner_members(text)) {
        (Some(inner), _) => format!("({}\n{indent})", format_at(inner, indent)),
        (None, Some(members)) => {
            let members = split(members, ",").into_iter().filter(|member| !member.trim().is_empty());
            let lines = members.map(|member| format!("{deeper}{};\n", format_member(member, &deeper)));
            format!("{{\n{}{indent}}}", lines.collect::<String>())
        }
        (None, None) => text.to_owned(),
    }
}

fn inner_members(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}')
}

/// Formats one member of an object with the comment before it.
fn format_member(member: &str, indent: &str) -> String {
    let member = member.trim();
    let (comment, member) = match member.strip_prefix("/**").and_then(|rest| rest.split_once("*/")) {
        Some((comment, member)) => (format!("{}\n{indent}", format_comment(comment, indent)), member.trim()),
        None => (String::new(), member),
    };
    match member.split_once(": ") {
        Some((name, definition)) => format!("{comment}{name}: {}", format_at(definition, indent)),
        None => format!("{comment}{member}"),
    }
}

/// Formats a comment, given the text between its marks. Links to Rust items become their names.
fn format_comment(comment: &str, indent: &str) -> String {
    let lines = comment.lines().map(|line| without_links(line.trim().trim_start_matches('*').trim()));
    let text = lines.collect::<Vec<_>>().join("\n").replace("`None`", "`null`");
    let text = text.trim();
    match text.lines().collect::<Vec<_>>()[..] {
        [line] if line.len() + indent.len() <= LINE_CHARS_MAX => format!("/** {line} */"),
        ref lines => {
            let lines = lines
                .iter()
                .map(|line| format!("\n{indent} *{}{line}", if line.is_empty() { "" } else { " " }));
            format!("/**{}\n{indent} */", lines.collect::<String>())
        }
    }
}

fn without_links(line: &str) -> String {
    let (mut text, mut rest) = (String::new(), line);
    while let Some((before, link)) = rest.split_once("[`") {
        let Some((name, after)) = link.split_once("`]") else { break };
        text.push_str(&format!("{before}`{}`", name.trim_start_matches("Self::")));
        let target = after.strip_prefix('(').and_then(|target| target.split_once(')'));
        rest = target.map_or(after, |(_, after)| after);
    }
    text + rest
}

/// Splits a text where no bracket, comment or quotation is open.
fn split<'a>(text: &'a str, separator: &str) -> Vec<&'a str> {
    let (mut parts, mut start, mut place, mut depth) = (Vec::new(), 0, 0, 0_usize);
    while let Some(char) = text[place..].chars().next() {
        let rest = &text[place..];
        let skipped = match char {
            '/' if rest.starts_with("/*") => rest.find("*/").map(|end| end + 2),
            '"' => rest[1..].find('"').map(|end| end + 2),
            _ => None,
        };
        match char {
            '{' | '(' | '[' | '<' => depth += 1,
            '}' | ')' | ']' | '>' => depth = depth.saturating_sub(1),
            _ if depth == 0 && rest.starts_with(separator) => {
                parts.push(&text[start..place]);
                start = place + separator.len();
            }
            _ => {}
        }
        place += skipped.unwrap_or(char.len_utf8());
    }
    parts.push(&text[start..]);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A part of the supervision tree.
    #[derive(TS)]
    #[allow(dead_code, reason = "only its declaration is read")]
    struct Branch {
        /// The [`name`](Self::name), as in `{`.
        name: String,
        /// The parts below.
        parts: Vec<Branch>,
        /// The way in which it ended.
        end: Option<BranchEnd>,
    }

    #[derive(TS)]
    #[ts(tag = "kind", rename_all = "snake_case")]
    #[allow(dead_code, reason = "only its declaration is read")]
    enum BranchEnd {
        Crashed { location: String },
        Stopped {},
    }

    #[test]
    fn declarations_stand_once_in_order_over_lines() {
        let mut declarations = Declarations::default();
        assert_eq!(declarations.add::<Vec<Branch>>(), "Array<Branch>");
        declarations.add::<Branch>();
        declarations.define("Any end.", "Ends<T>", "{ [K in keyof T]: BranchEnd }");
        assert_eq!(
            declarations.to_text(),
            r#"/** A part of the supervision tree. */
export type Branch = {
  /** The `name`, as in `{`. */
  name: string;
  /** The parts below. */
  parts: Array<Branch>;
  /** The way in which it ended. */
  end: BranchEnd | null;
};

export type BranchEnd = { "kind": "crashed", location: string } | { "kind": "stopped" };

/** Any end. */
export type Ends<T> = { [K in keyof T]: BranchEnd };
"#
        );
    }
}
