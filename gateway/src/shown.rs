//! What the program says of a mistake must not hold a key, and mistakes do: a key where a file's name, an option or another
//! column belongs. Standard error ends in logs, which more people read than key files.

use std::mem;

/// From so many hexadecimal digits in a row on, they may be a key: half of one is half of the secret.
const MIN_DIGITS: usize = 32;

/// The text, without what may be a key.
pub fn without_keys(text: &str) -> String {
    let (mut shown, mut digits) = (String::with_capacity(text.len()), String::new());
    for character in text.chars() {
        if character.is_ascii_hexdigit() {
            digits.push(character);
        } else {
            shown.push_str(&shown_digits(&mem::take(&mut digits)));
            shown.push(character);
        }
    }
    shown + &shown_digits(&digits)
}

fn shown_digits(digits: &str) -> String {
    match digits.len() {
        len @ MIN_DIGITS.. => format!("({len} digits, not shown)"),
        _ => digits.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_be_a_key_is_not_shown_and_all_else_is() {
        let key = "00112233445566778899AABBCCDDEEff".repeat(2);
        assert_eq!(without_keys(&format!("'{key}': no such file")), "'(64 digits, not shown)': no such file");
        assert_eq!(without_keys(&key[..32]), "(32 digits, not shown)");
        for text in ["", &key[..31], "the device 0242acfffe110001 – is face\n", &format!("{}g", &key[..31])]
        {
            assert_eq!(without_keys(text), text);
        }
        assert_eq!(without_keys(&format!("x{key}g{key}")), "x(64 digits, not shown)g(64 digits, not shown)");
    }
}
