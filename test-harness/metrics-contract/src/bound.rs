//! The bounds of the spec's table, such as `2(R+P)` or `4×16`.
//!
//! ```text
//! product = factor { [×] factor }     factor = number | variable | ( sum )     sum = product { + product }
//! ```

use std::collections::BTreeMap;
use std::iter::Peekable;
use std::str::Chars;

/// The number that `formula` stands for, or nothing where it is no formula.
#[must_use]
pub fn evaluate(formula: &str, variables: &BTreeMap<char, u64>) -> Option<u64> {
    let mut reader = Reader {
        rest: formula.chars().peekable(),
        variables,
    };
    let value = reader.sum()?;
    reader.rest.peek().is_none().then_some(value)
}

struct Reader<'a> {
    rest: Peekable<Chars<'a>>,
    variables: &'a BTreeMap<char, u64>,
}

impl Reader<'_> {
    fn sum(&mut self) -> Option<u64> {
        let mut value = self.product()?;
        while self.rest.next_if_eq(&'+').is_some() {
            value += self.product()?;
        }
        Some(value)
    }

    fn product(&mut self) -> Option<u64> {
        let mut value = self.factor()?;
        loop {
            let times = self.rest.next_if_eq(&'×').is_some();
            match self.rest.peek() {
                Some('+' | ')') | None if !times => return Some(value),
                _ => value *= self.factor()?,
            }
        }
    }

    fn factor(&mut self) -> Option<u64> {
        match self.rest.next()? {
            '(' => {
                let value = self.sum()?;
                self.rest.next_if_eq(&')').map(|_| value)
            }
            digit if digit.is_ascii_digit() => {
                let mut text = digit.to_string();
                while let Some(digit) = self.rest.next_if(char::is_ascii_digit) {
                    text.push(digit);
                }
                text.parse().ok()
            }
            name => self.variables.get(&name).copied(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::evaluate;

    // spec: OC-METRICS-7102
    #[test]
    fn every_form_of_bound_is_read() {
        let variables = [('R', 3), ('P', 2), ('D', 5)].into();
        let value = |formula| evaluate(formula, &variables);
        assert_eq!(value("2(R+P)"), Some(10));
        assert_eq!(value("4×16"), Some(64));
        assert_eq!(value("16(R+P)"), Some(80));
        assert_eq!(value("R×D"), Some(15));
        assert_eq!(value("2P×20"), Some(80));
        assert_eq!(value("20"), Some(20));
        for wrong in ["", "R×", "(R", "X", "2 R", "R)"] {
            assert_eq!(value(wrong), None, "{wrong}");
        }
    }
}
