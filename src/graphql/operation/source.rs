//! Places in the text of a document: from bytes, which the parser counts, to lines and columns, which clients read.

use async_graphql::Pos;

/// The text of a document, in which places are looked up.
pub struct Source<'a> {
    text: &'a str,
    /// Where each line begins, in bytes.
    lines: Vec<usize>,
    /// Where there are bytes that are not the first of a character.
    continued: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn of(text: &'a str) -> Self {
        let (mut lines, mut continued) = (vec![0], Vec::new());
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' => lines.push(at + 1),
                b'\r' if bytes.get(at + 1) != Some(&b'\n') => lines.push(at + 1),
                byte if byte & 0xC0 == 0x80 => continued.push(at),
                _ => {}
            }
        }
        Self { text, lines, continued }
    }

    /// The line and the column, in characters, of a byte; both count from 1.
    pub fn pos(&self, offset: usize) -> Pos {
        let offset = offset.min(self.text.len());
        let line = self.lines.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.lines.get(line)).copied().unwrap_or_default();
        let before = |at: usize| self.continued.partition_point(|continued| *continued < at);
        Pos { line, column: offset - start - (before(offset) - before(start)) + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "a\nbä€c\r\nd\re\n";
        let source = Source::of(text);
        for (found, line, column) in [("a", 1, 1), ("b", 2, 1), ("c", 2, 4), ("d", 3, 1), ("e", 4, 1)] {
            let offset = text.find(found).unwrap();
            assert_eq!(source.pos(offset), Pos { line, column }, "{found}");
        }
        assert_eq!(source.pos(text.len()), Pos { line: 5, column: 1 });
        assert_eq!(source.pos(usize::MAX), Pos { line: 5, column: 1 });
    }
}
