//! Places for the labels of points, such that none covers another, a point or a line.

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

    fn shared(&self, other: &Self) -> f64 {
        let width = self.right.min(other.right) - self.left.max(other.left);
        let height = self.bottom.min(other.bottom) - self.top.max(other.top);
        if width > 0.0 && height > 0.0 { width * height } else { 0.0 }
    }

    /// Whether it shares no room with any of `others`.
    pub fn is_free_of(&self, others: &[Self]) -> bool {
        others.iter().all(|other| self.shared(other) == 0.0)
    }

    fn is_inside(&self, bounds: &Self) -> bool {
        self.left >= bounds.left
            && self.right <= bounds.right
            && self.top >= bounds.top
            && self.bottom <= bounds.bottom
    }
}

/// A label that wants a place beside its point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wanted {
    pub x: f64,
    pub y: f64,
    pub width: f64,
    pub height: f64,
}

/// Directions in order of preference, as fractions of the label's half size.
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

/// Distances from the point, nearest first.
const GAPS: [f64; 3] = [8.0, 13.0, 19.0];

/// Times that every label may look for a better place than its last.
const ROUNDS: usize = 6;

/// The center of each label, or none where no free place is near its point.
pub(super) fn arrange(
    wanted: &[Wanted],
    obstacles: &[Area],
    bounds: &Area,
) -> Vec<Option<(f64, f64)>> {
    let mut chosen: Vec<Option<Area>> = vec![None; wanted.len()];
    for _ in 0..ROUNDS {
        for i in 0..wanted.len() {
            let others = chosen.iter().enumerate().filter(|&(j, _)| j != i);
            let taken: Vec<Area> = others.filter_map(|(_, area)| *area).collect();
            chosen[i] = best(&wanted[i], &taken, obstacles, bounds);
        }
    }
    // The rounds need not settle: whatever still collides gives way to the labels before it.
    let mut kept: Vec<Area> = Vec::new();
    chosen
        .into_iter()
        .map(|area| {
            let area = area.filter(|area| area.is_free_of(&kept) && area.is_free_of(obstacles))?;
            kept.push(area);
            Some(((area.left + area.right) / 2.0, (area.top + area.bottom) / 2.0))
        })
        .collect()
}

fn best(label: &Wanted, taken: &[Area], obstacles: &[Area], bounds: &Area) -> Option<Area> {
    let candidates = GAPS.iter().flat_map(|&gap| {
        DIRECTIONS.iter().map(move |&(dx, dy)| {
            // Diagonal places come nearer, or they would seem to belong to another point.
            let gap = if dx != 0.0 && dy != 0.0 { gap * 0.6 } else { gap };
            let x = label.x + dx * (label.width / 2.0 + gap);
            let y = label.y + dy * (label.height / 2.0 + gap);
            Area::around(x, y, label.width / 2.0, label.height / 2.0)
        })
    });
    let mut best: Option<(f64, Area)> = None;
    for area in candidates.filter(|area| area.is_inside(bounds)) {
        let cost: f64 = taken.iter().chain(obstacles).map(|other| area.shared(other)).sum();
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, area));
        }
    }
    best.map(|(_, area)| area)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: Area = Area { left: 0.0, top: 0.0, right: 400.0, bottom: 300.0 };

    fn label(x: f64, y: f64) -> Wanted {
        Wanted { x, y, width: 50.0, height: 12.0 }
    }

    #[test]
    fn a_lone_label_stands_to_the_right() {
        assert_eq!(arrange(&[label(100.0, 100.0)], &[], &PAGE), [Some((133.0, 100.0))]);
    }

    #[test]
    fn a_label_never_leaves_the_page() {
        let at = arrange(&[label(399.0, 2.0)], &[], &PAGE)[0].unwrap();
        assert!(Area::around(at.0, at.1, 25.0, 6.0).is_inside(&PAGE));
    }

    #[test]
    fn labels_of_a_cluster_do_not_meet() {
        let wanted = [label(100.0, 100.0), label(106.0, 96.0), label(94.0, 120.0)];
        let points: Vec<Area> = wanted.iter().map(|w| Area::around(w.x, w.y, 5.0, 5.0)).collect();
        let placed: Vec<Area> = arrange(&wanted, &points, &PAGE)
            .into_iter()
            .map(|at| at.unwrap())
            .map(|(x, y)| Area::around(x, y, 25.0, 6.0))
            .collect();
        for (i, area) in placed.iter().enumerate() {
            assert!(area.is_free_of(&placed[..i]) && area.is_free_of(&points));
        }
    }

    #[test]
    fn a_label_without_a_free_place_is_left_out() {
        let wanted = vec![label(200.0, 150.0); 60];
        let placed = arrange(&wanted, &[], &PAGE);
        assert!(placed.iter().any(Option::is_some) && placed.iter().any(Option::is_none));
        assert_eq!(arrange(&[label(200.0, 150.0)], &[PAGE], &PAGE), [None]);
    }
}
