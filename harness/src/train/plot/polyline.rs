//! Cutting a curve at the top of the axis: the line leaves through the edge instead of running over the caption.

/// The pieces of a curve that lie at or below `top`, cut where the line crosses it. Points are (x, position along the
/// axis); a point that is not finite separates pieces.
pub(super) fn pieces_below(points: &[(f64, f64)], top: f64) -> Vec<Vec<(f64, f64)>> {
    let mut pieces: Vec<Vec<(f64, f64)>> = Vec::new();
    let mut piece: Vec<(f64, f64)> = Vec::new();
    let mut previous: Option<(f64, f64)> = None;
    for &point in points {
        if !point.1.is_finite() {
            pieces.push(std::mem::take(&mut piece));
            previous = None;
            continue;
        }
        let inside = point.1 <= top;
        if let Some(before) = previous
            && (before.1 <= top) != inside
        {
            let share = (top - before.1) / (point.1 - before.1);
            piece.push((before.0 + share * (point.0 - before.0), top));
        }
        if inside {
            piece.push(point);
        } else {
            pieces.push(std::mem::take(&mut piece));
        }
        previous = Some(point);
    }
    pieces.push(piece);
    pieces.retain(|piece| !piece.is_empty());
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_is_cut_where_it_crosses_the_top() {
        let pieces = pieces_below(
            &[(0.0, 9.0), (1.0, 1.0), (2.0, 2.0), (3.0, 6.0), (4.0, 8.0)],
            5.0,
        );
        assert_eq!(
            pieces,
            [vec![(0.5, 5.0), (1.0, 1.0), (2.0, 2.0), (2.75, 5.0)]]
        );
    }

    #[test]
    fn a_curve_that_comes_back_has_two_pieces() {
        let pieces = pieces_below(&[(0.0, 1.0), (1.0, 9.0), (2.0, 1.0)], 5.0);
        assert_eq!(
            pieces,
            [vec![(0.0, 1.0), (0.5, 5.0)], vec![(1.5, 5.0), (2.0, 1.0)]]
        );
    }

    #[test]
    fn a_point_that_is_not_finite_leaves_a_gap() {
        let pieces = pieces_below(
            &[
                (0.0, 1.0),
                (1.0, f64::NAN),
                (2.0, 2.0),
                (3.0, f64::INFINITY),
            ],
            5.0,
        );
        assert_eq!(pieces, [vec![(0.0, 1.0)], vec![(2.0, 2.0)]]);
        assert!(pieces_below(&[], 5.0).is_empty());
    }
}
