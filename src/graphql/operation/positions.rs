//! Positions in the text of a document: converts byte offsets, which the parser counts, to lines and columns for
//! clients.

use async_graphql::Pos;

/// The text of a document with an index of its lines.
pub struct Source<'a> {
    text: &'a str,
    /// The byte offset of each line.
    line_starts: Vec<usize>,
    /// The offsets of bytes that are not the first of their character.
    continuation_bytes: Vec<usize>,
}

impl<'a> Source<'a> {
    pub fn new(text: &'a str) -> Self {
        let (mut line_starts, mut continuation_bytes) = (vec![0], Vec::new());
        let bytes = text.as_bytes();
        for (at, byte) in bytes.iter().enumerate() {
            match byte {
                b'\n' => line_starts.push(at + 1),
                b'\r' if bytes.get(at + 1) != Some(&b'\n') => line_starts.push(at + 1),
                byte if byte & 0xC0 == 0x80 => continuation_bytes.push(at),
                _ => {}
            }
        }
        Self { text, line_starts, continuation_bytes }
    }

    /// The line and column of a byte offset, both from 1; columns count characters.
    pub fn pos(&self, offset: usize) -> Pos {
        let offset = offset.min(self.text.len());
        let line = self.line_starts.partition_point(|start| *start <= offset);
        let start = line.checked_sub(1).and_then(|line| self.line_starts.get(line)).copied().unwrap_or_default();
        let before = |at: usize| self.continuation_bytes.partition_point(|continuation_bytes| *continuation_bytes < at);
        Pos { line, column: offset - start - (before(offset) - before(start)) + 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_counted_in_lines_and_characters() {
        let text = "a\nbä€c\r\nd\re\n";
        let source = Source::new(text);
        for (found, line, column) in [("a", 1, 1), ("b", 2, 1), ("c", 2, 4), ("d", 3, 1), ("e", 4, 1)] {
            let offset = text.find(found).unwrap();
            assert_eq!(source.pos(offset), Pos { line, column }, "{found}");
        }
        assert_eq!(source.pos(text.len()), Pos { line: 5, column: 1 });
        assert_eq!(source.pos(usize::MAX), Pos { line: 5, column: 1 });
    }
}
