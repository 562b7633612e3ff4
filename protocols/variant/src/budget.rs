//! What a message may still take of the limits while it is read or written.

use crtmp_media::Limits;

use crate::{VariantError, VariantErrorKind};

/// Counts values and open containers.
pub(crate) struct Budget<'a> {
    limits: &'a Limits,
    depth: usize,
    nodes: usize,
}

impl<'a> Budget<'a> {
    /// That of a message that came.
    ///
    /// # Errors
    ///
    /// If it is empty or too large.
    pub(crate) fn of_message(body: &[u8], limits: &'a Limits) -> Result<Self, VariantError> {
        if body.is_empty() {
            return Err(VariantErrorKind::Empty.at(0));
        }
        let budget = Self::of_answer(limits);
        budget.size(body.len())?;
        Ok(budget)
    }

    /// That of a message that is to be written.
    pub(crate) fn of_answer(limits: &'a Limits) -> Self {
        Self { limits, depth: 0, nodes: 0 }
    }

    /// A value begins at `offset`.
    pub(crate) fn node(&mut self, offset: usize) -> Result<(), VariantError> {
        self.nodes += 1;
        within(self.nodes, self.limits.amf_nodes, VariantErrorKind::Nodes, offset)
    }

    /// A container begins at `offset`.
    pub(crate) fn open(&mut self, offset: usize) -> Result<(), VariantError> {
        self.depth += 1;
        within(self.depth, self.limits.amf_depth, VariantErrorKind::Depth, offset)
    }

    /// The innermost container ends.
    pub(crate) fn close(&mut self) {
        self.depth = self.depth.saturating_sub(1);
    }

    /// A text at `offset` has `length` bytes.
    pub(crate) fn text(&self, offset: usize, length: usize) -> Result<(), VariantError> {
        within(length, self.limits.amf_string, VariantErrorKind::StringLength, offset)
    }

    /// A text at `offset` has `length` bytes of which at least half stand for something.
    pub(crate) fn coded_text(&self, offset: usize, length: usize) -> Result<(), VariantError> {
        self.text(offset, length / 2)
    }

    /// The message has `length` bytes so far.
    pub(crate) fn size(&self, length: usize) -> Result<(), VariantError> {
        within(length, self.limits.variant_size, VariantErrorKind::Size, length)
    }
}

fn within(
    count: usize,
    limit: usize,
    kind: fn(usize) -> VariantErrorKind,
    offset: usize,
) -> Result<(), VariantError> {
    if count > limit { Err(kind(limit).at(offset)) } else { Ok(()) }
}
