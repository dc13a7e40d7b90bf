//! The state of something as text, without some of its fields: to see that nothing else has changed.

/// Puts `_` in the place of every value of these fields in the text of a derived `Debug`.
pub fn mask(debug: &str, fields: &[&str]) -> String {
    let mut text = debug.to_owned();
    for field in fields {
        let label = format!(" {field}: ");
        let mut masked = String::new();
        let mut rest = text.as_str();
        while let Some(at) = rest.find(&label) {
            let (head, value) = rest.split_at(at + label.len());
            masked += head;
            masked.push('_');
            rest = &value[value_len(value)..];
        }
        masked += rest;
        text = masked;
    }
    text
}

/// How far a value goes: to the comma or the bracket that does not belong to it.
fn value_len(text: &str) -> usize {
    let mut depth = 0;
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' | ',' if depth == 0 => return text[..at].trim_end().len(),
            ')' | ']' | '}' => depth -= 1,
            _ => {}
        }
    }
    text.len()
}

#[test]
fn a_field_is_masked_and_nothing_else() {
    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its formatter")]
    struct Outer {
        next: Option<(u8, u8)>,
        inner: Inner,
        last: u8,
    }
    #[derive(Debug)]
    #[expect(dead_code, reason = "read by its formatter")]
    struct Inner {
        next: u8,
    }
    let debug = format!("{:?}", Outer { next: Some((1, 2)), inner: Inner { next: 3 }, last: 4 });
    assert_eq!(mask(&debug, &["next"]), "Outer { next: _, inner: Inner { next: _ }, last: 4 }");
    assert_eq!(mask(&debug, &["last"]), debug.replace("last: 4", "last: _"));
}
