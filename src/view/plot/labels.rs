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

/// A label to place next to its point (x, y).
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Label {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

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

/// Returns the center of each label, or `None` if no position near its point is free.
pub(super) fn place_labels(
    labels: &[Label],
    obstacles: &[Area],
    bounds: &Area,
) -> Vec<Option<(f64, f64)>> {
    let mut occupied = obstacles.to_vec();
    let place = |label: &Label| {
        let is_free = |area: &Area| area.is_inside(bounds) && area.is_free_of(&occupied);
        let area = label.positions().find(is_free)?;
        occupied.push(area);
        Some(area.center())
    };
    labels.iter().map(place).collect()
}

impl Label {
    /// Possible areas in order of preference.
    fn positions(&self) -> impl Iterator<Item = Area> {
        let positions = GAPS.iter().flat_map(|&gap| DIRECTIONS.map(|direction| (gap, direction)));
        positions.map(|(gap, (dx, dy))| {
            // A diagonal label must be closer to its point to be recognized as its label.
            let gap = if dx != 0.0 && dy != 0.0 { gap * 0.6 } else { gap };
            let x = self.x + dx * (self.width / 2.0 + gap);
            let y = self.y + dy * (self.height / 2.0 + gap);
            Area::around(x, y, self.width / 2.0, self.height / 2.0)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };

    fn label(x: f64, y: f64) -> Label {
        Label { x, y, width: 50.0, height: 12.0 }
    }

    #[test]
    fn a_single_label_is_placed_to_the_right() {
        assert_eq!(place_labels(&[label(100.0, 100.0)], &[], &PAGE), [Some((133.0, 100.0))]);
    }

    #[test]
    fn labels_stay_within_the_page() {
        let at = place_labels(&[label(399.0, 2.0)], &[], &PAGE)[0].unwrap();
        assert!(Area::around(at.0, at.1, 25.0, 6.0).is_inside(&PAGE));
    }

    #[test]
    fn labels_of_close_points_do_not_overlap() {
        let labels = [label(100.0, 100.0), label(106.0, 96.0), label(94.0, 120.0)];
        let points: Vec<Area> = labels.iter().map(|w| Area::around(w.x, w.y, 5.0, 5.0)).collect();
        let placed: Vec<Area> = place_labels(&labels, &points, &PAGE)
            .into_iter()
            .map(|at| at.unwrap())
            .map(|(x, y)| Area::around(x, y, 25.0, 6.0))
            .collect();
        for (i, area) in placed.iter().enumerate() {
            assert!(area.is_free_of(&placed[..i]) && area.is_free_of(&points));
        }
    }

    #[test]
    fn a_label_without_a_free_position_is_omitted() {
        let labels = vec![label(200.0, 150.0); 60];
        let placed = place_labels(&labels, &[], &PAGE);
        assert!(placed.iter().any(Option::is_some) && placed.iter().any(Option::is_none));
        assert_eq!(place_labels(&[label(200.0, 150.0)], &[PAGE], &PAGE), [None]);
    }
}
