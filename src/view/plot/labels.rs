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

/// Positions that are tried at most; those of a dozen labels are found within a few hundred.
const TRIES: usize = 20_000;

/// The point and the width of a label.
pub(super) type Label = ((f64, f64), f64);

/// Returns an area for each label next to its point, or `None` for a label that would leave more others without one.
pub(super) fn place_labels(
    labels: &[Label],
    occupied: &[Area],
    bounds: &Area,
) -> Vec<Option<Area>> {
    let positions = labels.iter().map(|&label| free_positions(label, occupied, bounds)).collect();
    let mut search = Search { positions, chosen: vec![], best: vec![], tries: TRIES };
    search.place_next();
    search.best
}

/// The free areas for a label, in order of preference.
fn free_positions(((x, y), width): Label, occupied: &[Area], bounds: &Area) -> Vec<Area> {
    let positions = GAPS.iter().flat_map(|&gap| DIRECTIONS.map(|direction| (gap, direction)));
    let areas = positions.map(|(gap, (dx, dy))| {
        // A diagonal label must be closer to its point to be recognized as its label.
        let gap = if dx != 0.0 && dy != 0.0 { gap * 0.6 } else { gap };
        let (half_width, half_height) = (width / 2.0, HEIGHT / 2.0);
        let (x, y) = (x + dx * (half_width + gap), y + dy * (half_height + gap));
        Area::around(x, y, half_width, half_height)
    });
    areas.filter(|area| area.is_inside(bounds) && area.is_free_of(occupied)).collect()
}

/// A depth-first search for positions of all labels, in order of preference.
struct Search {
    /// The areas that each label can have.
    positions: Vec<Vec<Area>>,
    /// The areas of the first labels.
    chosen: Vec<Option<Area>>,
    /// The choice with the most labels so far.
    best: Vec<Option<Area>>,
    tries: usize,
}

impl Search {
    fn place_next(&mut self) {
        let all = self.positions.len();
        let placed = |areas: &[Option<Area>]| areas.iter().flatten().count();
        let (chosen, best) = (placed(&self.chosen), placed(&self.best));
        if self.chosen.len() == all {
            if self.best.len() < all || chosen > best {
                self.best.clone_from(&self.chosen);
            }
            return;
        }
        let taken: Vec<Area> = self.chosen.iter().flatten().copied().collect();
        for i in 0..self.positions[self.chosen.len()].len() {
            let area = self.positions[self.chosen.len()][i];
            if area.is_free_of(&taken) {
                self.choose(Some(area));
            }
            if self.is_done() {
                return;
            }
        }
        // Without this label, if that can still be better than what was found.
        let remaining = all - self.chosen.len() - 1;
        if self.best.is_empty() || chosen + remaining > placed(&self.best) {
            self.choose(None);
        }
    }

    fn choose(&mut self, area: Option<Area>) {
        self.tries = self.tries.saturating_sub(1);
        self.chosen.push(area);
        self.place_next();
        self.chosen.pop();
    }

    /// Whether all labels have a place, or enough was tried.
    fn is_done(&self) -> bool {
        let is_complete = self.best.len() == self.positions.len();
        is_complete && (self.tries == 0 || self.best.iter().all(Option::is_some))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };

    fn place(points: &[(f64, f64)], occupied: &[Area]) -> Vec<Option<Area>> {
        let labels: Vec<Label> = points.iter().map(|&at| (at, 50.0)).collect();
        place_labels(&labels, occupied, &PAGE)
    }

    #[test]
    fn a_single_label_is_placed_to_the_right() {
        assert_eq!(place(&[(100.0, 100.0)], &[])[0].unwrap().center(), (133.0, 100.0));
        assert_eq!(place(&[], &[]), []);
    }

    #[test]
    fn labels_stay_within_the_page() {
        assert!(place(&[(399.0, 2.0)], &[])[0].unwrap().is_inside(&PAGE));
    }

    fn marks(points: &[(f64, f64)]) -> Vec<Area> {
        points.iter().map(|&(x, y)| Area::around(x, y, 5.0, 5.0)).collect()
    }

    #[test]
    fn labels_of_close_points_do_not_overlap() {
        let points = [(100.0, 100.0), (106.0, 96.0), (94.0, 120.0)];
        let mut occupied = marks(&points);
        for area in place(&points, &occupied.clone()) {
            let area = area.unwrap();
            assert!(area.is_free_of(&occupied));
            occupied.push(area);
        }
    }

    #[test]
    fn a_label_makes_room_for_another() {
        // The second point has room only to its right, where the first would have its label.
        let points = [(100.0, 100.0), (100.0, 112.0)];
        let walls = [
            Area { left: 0.0, top: 0.0, right: 400.0, bottom: 92.0 },
            Area { left: 0.0, top: 120.0, right: 400.0, bottom: 300.0 },
            Area { left: 0.0, top: 107.5, right: 95.0, bottom: 118.0 },
        ];
        let occupied = [&marks(&points)[..], &walls].concat();
        assert!(place(&points, &occupied).iter().all(Option::is_some));
    }

    #[test]
    fn labels_without_a_free_position_are_omitted() {
        let placed = place(&[(200.0, 150.0); 60], &[]);
        let count = placed.iter().flatten().count();
        assert!((4..60).contains(&count), "{count}");
        assert_eq!(place(&[(200.0, 150.0)], &[PAGE]), [None]);
    }
}
