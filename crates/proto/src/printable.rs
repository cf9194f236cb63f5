//! Makes foreign text safe to show to a person.

use std::fmt::Write;

/// Whether a terminal or a web page shows a character as itself and does nothing else. False for
/// control characters, line ends, characters that change the direction of the text around them, and
/// invisible marks such as byte order marks and tags.
pub fn is_printable(c: char) -> bool {
    let is_hidden = matches!(c,
        // Marks, embeddings, overrides and isolates for right-to-left text.
        '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
        // Line and paragraph separators.
        | '\u{2028}' | '\u{2029}'
        // Characters without a glyph: soft hyphen, zero-width space, word joiner, invisible
        // operators, fillers. Joiners (U+200C, U+200D) and variation selectors stay: scripts and
        // emoji need them.
        | '\u{ad}' | '\u{180e}' | '\u{200b}' | '\u{2060}'..='\u{2064}' | '\u{206a}'..='\u{206f}'
        | '\u{115f}' | '\u{1160}' | '\u{3164}' | '\u{ffa0}'
        // Byte order marks, annotations, tags.
        | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}');
    !c.is_control() && !is_hidden
}

/// `text` on one line, without anything that the program that shows it would take for a command.
/// Characters that are not [printable](is_printable) are escaped as in Rust source. So are the
/// beginnings of commands to a build service's log (`::error::`, `##[error]`).
///
/// ```
/// use brigade_proto::printable;
/// assert_eq!(printable("größe.png"), "größe.png");
/// assert_eq!(printable("a\u{1b}[2J\nb"), "a\\u{1b}[2J\\nb");
/// assert_eq!(printable("::error::x"), "\\u{3a}:error::x");
/// ```
pub fn printable(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    let command = text.len() - text.trim_start().len();
    for (at, c) in text.char_indices() {
        let rest = &text[at..];
        let is_command = (at == command && rest.starts_with("::")) || rest.starts_with("##[");
        if is_command {
            // Writing to a string cannot fail.
            let _ = write!(line, "{}", c.escape_unicode());
        } else if is_printable(c) {
            line.push(c);
        } else {
            line.extend(c.escape_default());
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_it_is_an_order() {
        for (text, expected) in [
            ("a\tb\r\n\u{7f}", "a\\tb\\r\\n\\u{7f}"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("a\u{202e}gnp.exe", "a\\u{202e}gnp.exe"),
            ("\u{2066}x\u{2069}\u{200f}", "\\u{2066}x\\u{2069}\\u{200f}"),
            ("a\u{2028}b", "a\\u{2028}b"),
            ("a\u{200b}b\u{ad}c", "a\\u{200b}b\\u{ad}c"),
            ("  ::warning file=x::y", "  \\u{3a}:warning file=x::y"),
            ("a ##[error]b", "a \\u{23}#[error]b"),
            ("std::io", "std::io"),
            ("日本語 ‐ naïve 👍🏽", "日本語 ‐ naïve 👍🏽"),
            ("", ""),
        ] {
            let shown = printable(text);
            assert_eq!(shown, expected);
            assert!(shown.chars().all(is_printable));
        }
    }
}
