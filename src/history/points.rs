//! Points, and how those of a row are encoded.
//!
//! A row holds the same number of points of each figure that has any. A point is the count, the sum, the smallest and the
//! largest of its samples, in whole numbers; a count of 0 is a point without samples, which is absent and not 0. The
//! encoding is by columns: figure by figure, each as runs of equal points, each point by its difference to the one before.
//! A figure that does not change is a few bytes, however many points it has.

use super::figure::Figure;

/// The number of the encoding, the first byte of a row.
const FORMAT: u8 = 1;

/// What is known of a figure in a span of time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Point {
    /// How many samples there are.
    pub count: u32,
    /// Their sum.
    pub sum: i64,
    /// The smallest.
    pub min: i64,
    /// The largest.
    pub max: i64,
}

impl Point {
    /// One sample.
    pub fn of(value: i64) -> Self {
        Self { count: 1, sum: value, min: value, max: value }
    }

    /// Whether there are no samples.
    pub fn is_absent(self) -> bool {
        self.count == 0
    }

    /// The mean of the samples, in whole units of the figure; none if there are no samples.
    pub fn mean(self, figure: Figure) -> Option<f64> {
        let samples = f64::from(self.count) * figure.parts() as f64;
        (!self.is_absent()).then(|| self.sum as f64 / samples)
    }

    /// The smallest sample, in whole units of the figure; none if there are no samples.
    pub fn smallest(self, figure: Figure) -> Option<f64> {
        (!self.is_absent()).then(|| self.min as f64 / figure.parts() as f64)
    }

    /// The largest sample, in whole units of the figure; none if there are no samples.
    pub fn largest(self, figure: Figure) -> Option<f64> {
        (!self.is_absent()).then(|| self.max as f64 / figure.parts() as f64)
    }

    /// The point of these samples and of others, of another span of time.
    pub fn and(self, other: Self) -> Self {
        match (self.count, other.count) {
            (_, 0) => self,
            (0, _) => other,
            _ => Self {
                count: self.count.saturating_add(other.count),
                sum: self.sum.saturating_add(other.sum),
                min: self.min.min(other.min),
                max: self.max.max(other.max),
            },
        }
    }
}

/// The points of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Points {
    length: usize,
    columns: [Option<Vec<Point>>; Figure::COUNT],
}

impl Points {
    /// So many points of each figure, all absent.
    pub fn absent(length: usize) -> Self {
        Self { length, columns: Default::default() }
    }

    /// The points of a figure; none if all are absent.
    pub fn of(&self, figure: Figure) -> Option<&[Point]> {
        self.columns[figure.index()].as_deref()
    }

    /// A point of a figure.
    pub fn at(&self, figure: Figure, place: usize) -> Point {
        self.of(figure).and_then(|column| column.get(place)).copied().unwrap_or_default()
    }

    /// Sets a point; a place that there is not is passed over.
    pub fn set(&mut self, figure: Figure, place: usize, point: Point) {
        let column = &mut self.columns[figure.index()];
        if column.is_none() && point.is_absent() {
            return;
        }
        let column = column.get_or_insert_with(|| vec![Point::default(); self.length]);
        if let Some(known) = column.get_mut(place) {
            *known = point;
        }
    }

    /// Adds samples to a point, of another span of time than those that it has.
    pub fn add(&mut self, figure: Figure, place: usize, point: Point) {
        if !point.is_absent() {
            self.set(figure, place, self.at(figure, place).and(point));
        }
    }

    /// Fills in the points that are absent here from what another server, or this one before its restart, knows of the
    /// same span of time. Nothing is added up. Where both know the measured load of a zone or the cluster, that of more
    /// workers is taken.
    pub fn merge(&mut self, other: &Self) {
        for place in 0..self.length {
            let workers = |points: &Self| points.at(Figure::MeasuredWorkers, place).max;
            let is_of_more = workers(other) > workers(self);
            for figure in Figure::ALL {
                let known = other.at(figure, place);
                if self.at(figure, place).is_absent() || is_of_more && Figure::MEASURED.contains(&figure) {
                    self.set(figure, place, known);
                }
            }
        }
    }

    /// The bytes of a row.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![FORMAT];
        let present = Figure::ALL.into_iter().filter_map(|figure| Some((figure, self.of(figure)?)));
        for (figure, column) in present {
            bytes.push(figure as u8);
            let mut before = 0;
            for run in column.chunk_by(|one, other| one == other) {
                write_number(&mut bytes, run.len() as u64);
                let point = run.first().copied().unwrap_or_default();
                let is_span = point.max > point.min;
                write_number(&mut bytes, u64::from(point.count) * 2 + u64::from(is_span));
                if point.is_absent() {
                    continue;
                }
                write_number(&mut bytes, zigzag(point.min.wrapping_sub(before)));
                before = point.min;
                if is_span {
                    write_number(&mut bytes, point.max.wrapping_sub(point.min) as u64);
                    write_number(&mut bytes, zigzag(point.sum.wrapping_sub(point.min)));
                }
            }
        }
        bytes
    }

    /// The points of a row of so many; none if the bytes are not such a row.
    pub fn decode(length: usize, bytes: &[u8]) -> Option<Self> {
        let (format, mut rest) = bytes.split_first()?;
        if *format != FORMAT {
            return None;
        }
        let mut points = Self::absent(length);
        while let Some((figure, columns)) = rest.split_first() {
            rest = columns;
            let figure = *Figure::ALL.get(usize::from(*figure))?;
            let mut column = Vec::with_capacity(length);
            let mut before = 0_i64;
            while column.len() < length {
                let run = usize::try_from(read_number(&mut rest)?).ok()?;
                if run == 0 || run > length - column.len() {
                    return None;
                }
                let tag = read_number(&mut rest)?;
                let mut point = Point { count: u32::try_from(tag / 2).ok()?, ..Point::default() };
                if point.count > 0 {
                    let min = before.wrapping_add(unzigzag(read_number(&mut rest)?));
                    before = min;
                    (point.min, point.max, point.sum) = (min, min, min.saturating_mul(point.count.into()));
                    if tag % 2 == 1 {
                        point.max = min.wrapping_add(read_number(&mut rest)? as i64);
                        point.sum = min.wrapping_add(unzigzag(read_number(&mut rest)?));
                    }
                }
                column.resize(column.len() + run, point);
            }
            points.columns[figure.index()] = Some(column);
        }
        Some(points)
    }
}

fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

/// Seven bits a byte, the lowest first; all but the last byte have the highest bit set.
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..64).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn point() -> impl Strategy<Value = Point> {
        let samples = prop::collection::vec(prop_oneof![0..3_i64, 0..i64::from(u32::MAX) * 100_000], 0..4);
        samples.prop_map(|samples| samples.into_iter().map(Point::of).fold(Point::default(), Point::and))
    }

    fn row() -> impl Strategy<Value = Points> {
        let columns = prop::collection::vec((0..Figure::COUNT, prop::collection::vec(point(), 15)), 0..6);
        columns.prop_map(|columns| {
            let mut points = Points::absent(15);
            for (figure, column) in columns {
                for (place, point) in column.into_iter().enumerate() {
                    points.set(Figure::ALL[figure], place, point);
                }
            }
            points
        })
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(points in row()) {
            prop_assert_eq!(Points::decode(15, &points.encode()), Some(points));
        }

        #[test]
        fn other_bytes_are_refused_without_a_fault(mut bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = Points::decode(15, &bytes);
            bytes.insert(0, FORMAT);
            let _ = Points::decode(15, &bytes);
        }

        #[test]
        fn merging_twice_is_merging_once(one in row(), other in row()) {
            let mut merged = one.clone();
            merged.merge(&other);
            let once = merged.clone();
            merged.merge(&other);
            prop_assert_eq!(&merged, &once);
            for figure in Figure::ALL.into_iter().filter(|figure| !Figure::MEASURED.contains(figure)) {
                for place in 0..15 {
                    let (known, merged) = (one.at(figure, place), merged.at(figure, place));
                    let expected = if known.is_absent() { other.at(figure, place) } else { known };
                    prop_assert_eq!(merged, expected);
                }
            }
        }
    }

    #[test]
    fn the_load_of_more_workers_is_taken_as_a_whole() {
        let load = |workers, busy| {
            let mut points = Points::absent(1);
            points.set(Figure::MeasuredWorkers, 0, Point::of(workers));
            points.set(Figure::MeasuredCpuCores, 0, Point::of(busy));
            points
        };
        let mut merged = load(2, 900);
        merged.merge(&load(3, 700));
        assert_eq!(merged, load(3, 700));
        merged.merge(&load(2, 900));
        assert_eq!(merged, load(3, 700));
    }

    #[test]
    fn a_figure_that_does_not_change_takes_a_few_bytes() {
        let mut points = Points::absent(96);
        for place in 0..96 {
            points.set(Figure::MemoryMb, place, Point { count: 15, sum: 15 * 65_536, min: 65_536, max: 65_536 });
        }
        assert_eq!(points.encode().len(), 7);
    }
}
