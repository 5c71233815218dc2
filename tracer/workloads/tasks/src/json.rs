//! Lines of JSON, written by hand: the fewer crates this program has, the more of it is tokio.

use std::fmt::Write;

/// An object under construction: the text between its braces.
#[derive(Clone, Debug, Default)]
pub(crate) struct Object(String);

impl Object {
    pub(crate) fn with(mut self, name: &str, value: impl Json) -> Self {
        if !self.0.is_empty() {
            self.0.push(',');
        }
        name.write(&mut self.0);
        self.0.push(':');
        value.write(&mut self.0);
        self
    }

    pub(crate) fn line(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text.push('\n');
        text
    }
}

pub(crate) trait Json {
    fn write(&self, text: &mut String);
}

impl Json for Object {
    fn write(&self, text: &mut String) {
        text.push('{');
        text.push_str(&self.0);
        text.push('}');
    }
}

impl Json for u64 {
    fn write(&self, text: &mut String) {
        // Writing to a string cannot fail, here and below.
        let _ = write!(text, "{self}");
    }
}

impl Json for usize {
    fn write(&self, text: &mut String) {
        (*self as u64).write(text);
    }
}

impl Json for bool {
    fn write(&self, text: &mut String) {
        text.push_str(if *self { "true" } else { "false" });
    }
}

impl Json for &str {
    fn write(&self, text: &mut String) {
        text.push('"');
        for character in self.chars() {
            match character {
                '"' | '\\' => {
                    text.push('\\');
                    text.push(character);
                }
                control if control < ' ' => {
                    let _ = write!(text, "\\u{:04x}", u32::from(control));
                }
                plain => text.push(plain),
            }
        }
        text.push('"');
    }
}

impl Json for String {
    fn write(&self, text: &mut String) {
        self.as_str().write(text);
    }
}

impl<T: Json> Json for Option<T> {
    fn write(&self, text: &mut String) {
        match self {
            Some(value) => value.write(text),
            None => text.push_str("null"),
        }
    }
}

impl<T: Json> Json for Vec<T> {
    fn write(&self, text: &mut String) {
        text.push('[');
        for (index, value) in self.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            value.write(text);
        }
        text.push(']');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_written_as_json_has_it() {
        let inner = Object::default().with("id", None::<u64>);
        let line = Object::default()
            .with("a\"b\\", "line\nend")
            .with("numbers", vec![1_u64, 2])
            .with("inner", vec![inner])
            .with("yes", true)
            .line();
        assert_eq!(
            line,
            "{\"a\\\"b\\\\\":\"line\\u000aend\",\"numbers\":[1,2],\"inner\":[{\"id\":null}],\"yes\":true}\n"
        );
    }
}
