//! Detects `bash`, and finds syntax in a command line that only a shell interprets.

use std::process::{Command, Stdio};
use std::sync::OnceLock;

pub(super) fn has_bash() -> bool {
    static HAS: OnceLock<bool> = OnceLock::new();
    *HAS.get_or_init(|| {
        let mut bash = Command::new("bash");
        bash.args(["-c", "true"]).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        bash.status().is_ok_and(|status| status.success())
    })
}

/// Returns the first part of the line that a shell would interpret instead of passing it to the
/// program: an operator or the start of an expansion. Wildcards do not count, because many programs
/// expand them themselves.
pub(super) fn needed_by(line: &str) -> Option<String> {
    let mut chars = line.chars().peekable();
    let mut quote = None;
    let mut is_next_first = true;
    while let Some(c) = chars.next() {
        let is_first = std::mem::replace(&mut is_next_first, c.is_whitespace());
        match (quote, c) {
            // Single quotes disable all special characters; double quotes still allow expansions.
            (Some('\''), '\'') | (Some('"'), '"') => quote = None,
            (Some('\''), _) => {}
            (_, '\\') => drop(chars.next()),
            (None, '\'' | '"') => quote = Some(c),
            (None, '\n') if !chars.clone().all(char::is_whitespace) => {
                return Some("a line feed".to_owned());
            }
            (None, '~') if is_first && matches!(chars.peek(), None | Some('/')) => {
                return Some("~".to_owned());
            }
            (None, '|' | '&' | ';' | '<' | '>') => {
                let doubled = chars.next_if_eq(&c).is_some();
                return Some(c.to_string().repeat(if doubled { 2 } else { 1 }));
            }
            (_, '`') => return Some("`".to_owned()),
            (_, '$') => match chars.peek() {
                Some('(' | '{') => return Some(format!("${}", chars.next().unwrap_or_default())),
                Some(next) if "$?@#!*-".contains(*next) || next.is_ascii_digit() => {
                    return Some(format!("${next}"));
                }
                Some(next) if next.is_ascii_alphabetic() || *next == '_' => {
                    let is_name = |c: &char| c.is_ascii_alphanumeric() || *c == '_';
                    let name: String = std::iter::from_fn(|| chars.next_if(is_name)).collect();
                    return Some(format!("${name}"));
                }
                _ => {}
            },
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::needed_by;

    #[test]
    fn operators_and_expansions_need_a_shell_unless_they_are_quoted() {
        for (line, part) in [
            ("./base | cat", "|"),
            ("a && b", "&&"),
            ("a&", "&"),
            ("a; b", ";"),
            ("a > b", ">"),
            ("a 2>&1", ">"),
            ("a <b", "<"),
            ("a $HOME/x", "$HOME"),
            ("a \"$b_1 c\"", "$b_1"),
            ("a $(b)", "$("),
            ("a \"${b}\"", "${"),
            ("a `b`", "`"),
            ("a $$ b", "$$"),
            ("a $1", "$1"),
            ("~/a b", "~"),
            ("a ~", "~"),
            ("a\nb", "a line feed"),
        ] {
            assert_eq!(needed_by(line).as_deref(), Some(part), "{line}");
        }
        for line in [
            "sh -c 'a | b > $c; d'",
            "grep \"a|b;c&d\" file",
            "a \\| \\$b",
            "a 'it'\\''s; so'",
            "grep a$ b",
            "a b~ c~/d \n ",
            "find . -name *.rs",
            "a\\",
        ] {
            assert_eq!(needed_by(line), None, "{line}");
        }
    }
}
