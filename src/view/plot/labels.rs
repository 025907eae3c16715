//! Places labels next to their points without overlap with each other, points or lines.

/// A box on the page.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Area {
    pub left: f64,
    pub top: f64,
    pub right: f64,
    pub bottom: f64,
}

impl Area {
    pub fn around(x: f64, y: f64, half_width: f64, half_height: f64) -> Self {
        Self {
            left: x - half_width,
            top: y - half_height,
            right: x + half_width,
            bottom: y + half_height,
        }
    }

    pub fn center(&self) -> (f64, f64) {
        ((self.left + self.right) / 2.0, (self.top + self.bottom) / 2.0)
    }

    /// Whether it overlaps none of `others`.
    pub fn is_free_of(&self, others: &[Self]) -> bool {
        others.iter().all(|other| {
            self.right.min(other.right) <= self.left.max(other.left)
                || self.bottom.min(other.bottom) <= self.top.max(other.top)
        })
    }

    fn is_inside(&self, bounds: &Self) -> bool {
        self.left >= bounds.left
            && self.right <= bounds.right
            && self.top >= bounds.top
            && self.bottom <= bounds.bottom
    }
}

/// Height of a label.
const HEIGHT: f64 = 14.0;

/// Directions from the point to the label, in order of preference.
const DIRECTIONS: [(f64, f64); 8] = [
    (1.0, 0.0),
    (-1.0, 0.0),
    (0.0, -1.0),
    (0.0, 1.0),
    (1.0, -1.0),
    (1.0, 1.0),
    (-1.0, -1.0),
    (-1.0, 1.0),
];

/// Distances between point and label, in order of preference.
const GAPS: [f64; 3] = [8.0, 13.0, 19.0];

/// Returns the first free area for a label next to its point, or `None` if there is none.
pub(super) fn place_label(
    (x, y): (f64, f64),
    width: f64,
    occupied: &[Area],
    bounds: &Area,
) -> Option<Area> {
    let positions = GAPS.iter().flat_map(|&gap| DIRECTIONS.map(|direction| (gap, direction)));
    let mut areas = positions.map(|(gap, (dx, dy))| {
        // A diagonal label must be closer to its point to be recognized as its label.
        let gap = if dx != 0.0 && dy != 0.0 { gap * 0.6 } else { gap };
        let (half_width, half_height) = (width / 2.0, HEIGHT / 2.0);
        let (x, y) = (x + dx * (half_width + gap), y + dy * (half_height + gap));
        Area::around(x, y, half_width, half_height)
    });
    areas.find(|area| area.is_inside(bounds) && area.is_free_of(occupied))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };

    fn place(at: (f64, f64), occupied: &[Area]) -> Option<Area> {
        place_label(at, 50.0, occupied, &PAGE)
    }

    #[test]
    fn a_single_label_is_placed_to_the_right() {
        assert_eq!(place((100.0, 100.0), &[]).unwrap().center(), (133.0, 100.0));
    }

    #[test]
    fn labels_stay_within_the_page() {
        assert!(place((399.0, 2.0), &[]).unwrap().is_inside(&PAGE));
    }

    #[test]
    fn labels_of_close_points_do_not_overlap() {
        let points = [(100.0, 100.0), (106.0, 96.0), (94.0, 120.0)];
        let mut occupied: Vec<Area> =
            points.iter().map(|&(x, y)| Area::around(x, y, 5.0, 5.0)).collect();
        for at in points {
            let area = place(at, &occupied).unwrap();
            assert!(area.is_free_of(&occupied));
            occupied.push(area);
        }
    }

    #[test]
    fn a_label_without_a_free_position_is_omitted() {
        let mut occupied = vec![];
        while let Some(area) = place((200.0, 150.0), &occupied) {
            assert!(occupied.len() < 60);
            occupied.push(area);
        }
        assert!(!occupied.is_empty());
        assert_eq!(place((200.0, 150.0), &[PAGE]), None);
    }
}
