//! Foreign text made harmless for a terminal, and measured.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The text with everything escaped that a terminal would obey or that changes how its neighbours look: control
/// characters, marks of direction, invisible characters.
pub fn clean(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    text.chars().for_each(|letter| push_clean(&mut out, letter));
    out
}

/// Appends one character, escaped as [`clean`] says: `\n`, `\r`, `\t`, else `\u{…}`.
pub fn push_clean(out: &mut String, letter: char) {
    match letter {
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        _ if is_harmful(letter) => out.extend(letter.escape_unicode()),
        _ => out.push(letter),
    }
}

/// Columns of a terminal that the text takes.
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text, cut to `columns` columns, with `…` where something is missing.
pub fn cut(text: &str, columns: usize) -> String {
    if width(text) <= columns {
        return text.to_owned();
    }
    let mut out = String::new();
    let mut taken = 1;
    for letter in text.chars() {
        taken += letter.width().unwrap_or(0);
        if taken > columns {
            break;
        }
        out.push(letter);
    }
    // Some sequences are wider than the sum of their characters.
    while width(&out) >= columns && out.pop().is_some() {}
    out + "…"
}

/// The text in lines of at most `columns` columns, broken at spaces where there are any; at least one line.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let (mut line, mut taken) = (String::new(), 0);
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let wide = width(word);
        if taken > 0 && taken + 1 + wide > columns {
            lines.push(std::mem::take(&mut line));
            taken = 0;
        }
        if taken > 0 {
            line.push(' ');
            taken += 1;
        }
        if wide <= columns {
            line.push_str(word);
            taken += wide;
            continue;
        }
        for letter in word.chars() {
            let wide = letter.width().unwrap_or(0);
            if taken > 0 && taken + wide > columns {
                lines.push(std::mem::take(&mut line));
                taken = 0;
            }
            line.push(letter);
            taken += wide;
        }
    }
    if !line.is_empty() || lines.is_empty() {
        lines.push(line);
    }
    lines
}

fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter,
            // Soft hyphen, marks of direction, overrides and isolates.
            '\u{ad}' | '\u{61c}' | '\u{200b}' | '\u{200e}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2066}'..='\u{206f}'
            // Separators of lines and paragraphs.
            | '\u{2028}' | '\u{2029}'
            // Joiners, fillers, annotations and tags that nobody sees.
            | '\u{180e}' | '\u{2060}'..='\u{2065}' | '\u{feff}' | '\u{fff0}'..='\u{fffb}' | '\u{e0000}'..='\u{e0fff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped() {
        for (text, expected) in [
            ("a\x1b[31mb\0", "a\\u{1b}[31mb\\u{0}"),
            ("\u{9b}2J\u{7f}\u{8}", "\\u{9b}2J\\u{7f}\\u{8}"),
            ("a\r\nb\t", "a\\r\\nb\\t"),
            ("\u{202e}gpj.exe\u{2066}\u{200f}", "\\u{202e}gpj.exe\\u{2066}\\u{200f}"),
            ("\u{2028}\u{feff}\u{e0041}", "\\u{2028}\\u{feff}\\u{e0041}"),
            ("日本 é \u{1f600} \\ \"", "日本 é \u{1f600} \\ \""),
        ] {
            assert_eq!(clean(text), expected);
        }
    }

    #[test]
    fn text_is_cut_by_columns() {
        for (text, expected) in [
            ("12345678", "12345678"),
            ("123456789", "1234567…"),
            ("日本語文", "日本語文"),
            ("日本語文字", "日本語…"),
            ("a日本語文字", "a日本語…"),
            ("", ""),
        ] {
            assert_eq!(cut(text, 8), expected);
            assert!(width(&cut(text, 8)) <= 8, "{text}");
        }
    }

    #[test]
    fn text_is_broken_at_spaces() {
        for (text, expected) in [
            ("", vec![""]),
            ("one two", vec!["one two"]),
            ("one two  three", vec!["one two", "three"]),
            ("12345678 9", vec!["12345678", "9"]),
            ("1234567890", vec!["12345678", "90"]),
            ("a 1234567890 b", vec!["a", "12345678", "90 b"]),
            ("日本語文字", vec!["日本語文", "字"]),
        ] {
            assert_eq!(wrap(text, 8), expected, "{text}");
        }
    }
}
