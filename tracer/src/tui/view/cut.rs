//! Cuts areas into parts. Where there is too little room, what is cut off first gets it.

use ratatui::layout::Rect;

/// Takes `height` rows from the top.
pub(super) fn top(area: &mut Rect, height: u16) -> Rect {
    let part = Rect {
        height: height.min(area.height),
        ..*area
    };
    *area = Rect {
        y: area.y + part.height,
        height: area.height - part.height,
        ..*area
    };
    part
}

/// Takes `height` rows from the bottom.
pub(super) fn bottom(area: &mut Rect, height: u16) -> Rect {
    let height = height.min(area.height);
    area.height -= height;
    Rect {
        y: area.y + area.height,
        height,
        ..*area
    }
}

/// Takes `width` columns from the right.
pub(super) fn right(area: &mut Rect, width: u16) -> Rect {
    let width = width.min(area.width);
    area.width -= width;
    Rect {
        x: area.x + area.width,
        width,
        ..*area
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_fill_the_area_and_never_leave_it() {
        for height in 0..6 {
            let whole = Rect::new(3, 4, 5, height);
            let mut rest = whole;
            let parts = [
                top(&mut rest, 2),
                bottom(&mut rest, 1),
                right(&mut rest, 9),
                rest,
            ];
            assert_eq!(
                parts.iter().map(|part| part.area()).sum::<u32>(),
                whole.area()
            );
            assert!(
                parts.iter().all(|part| whole.intersection(*part) == *part),
                "{parts:?}"
            );
        }
    }
}
