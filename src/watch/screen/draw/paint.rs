//! Writes text and styles to the cells of a terminal ([`Paint`]): marks what does not fit, and leaves colours out where
//! they are not wanted.

use super::super::Look;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Modifier, Style};

pub(super) const PLAIN: Style = Style::new();
pub(super) const BOLD: Style = Style::new().add_modifier(Modifier::BOLD);
pub(super) const REVERSED: Style = Style::new().add_modifier(Modifier::REVERSED);

/// The surface to paint on.
pub(super) struct Paint<'a> {
    pub(super) buffer: &'a mut Buffer,
    pub(super) area: Rect,
    pub(super) look: Look,
}

impl Paint<'_> {
    /// Paints text from a column on, at most this wide, and marks what does not fit. Returns the next column.
    pub(super) fn put(&mut self, x: u16, y: u16, text: &str, width: u16, style: Style) -> u16 {
        let width = width.min(self.area.right().saturating_sub(x));
        if y >= self.area.bottom() || width == 0 {
            return x;
        }
        let (end, _) = self.buffer.set_stringn(x, y, text, usize::from(width), style);
        let cut = text.chars().count() > usize::from(width);
        if cut {
            let mark = if self.look.unicode { "…" } else { "~" };
            self.buffer.set_string(x + width - 1, y, mark, style);
        }
        end
    }

    /// Paints a whole line.
    pub(super) fn line(&mut self, y: u16, text: &str, style: Style) {
        self.put(self.area.x, y, text, self.area.width, style);
    }

    /// Paints text that ends at the right edge, when the line is long enough for it besides `taken` columns.
    pub(super) fn right(&mut self, y: u16, text: &str, taken: u16, style: Style) {
        let width = text.chars().count() as u16;
        if width + taken < self.area.width {
            self.put(self.area.right() - width, y, text, width, style);
        }
    }

    /// The style of something that must not be missed.
    pub(super) fn loud(&self, color: Color) -> Style {
        let bold = Style::new().add_modifier(Modifier::BOLD);
        if self.look.color { bold.fg(color) } else { bold }
    }
}
