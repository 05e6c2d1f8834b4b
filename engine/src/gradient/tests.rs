use super::*;
use crate::exec::{Crew, Scratch};
use crate::graph::Initializer;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// A table of 5 rows of 3, a bias of 4 and a kernel of 2 x 3, each from a multiple of 16 on.
fn gradient() -> Gradient {
    let spec = |shape: &[usize], start: usize| ParamSpec {
        name: format!("at {start}"),
        role: Role::Kernel,
        shape: shape.to_vec(),
        range: start..start + shape.iter().product::<usize>(),
        initializer: Initializer::Zeros,
        ones: None,
    };
    let specs = [spec(&[5, 3], 0), spec(&[4], 16), spec(&[2, 3], 32)];
    Gradient::new(&specs, 48, std::slice::from_ref(&specs[0].range), &Home::Memory).unwrap()
}

/// Does something on one thread.
fn alone<R>(act: impl FnOnce(Products<'_>) -> R) -> R {
    let (crew, scratch) = (Crew::simulated(1), Scratch::new(1, Isa::best(), Precision::F32));
    let team = crew.team();
    act(Products { team: &team, isa: Isa::best(), precision: Precision::F32, scratch: &scratch })
}

fn begin(gradient: &mut Gradient) {
    alone(|products| gradient.begin(products));
}

/// Adds rows of these numbers, three times each, to the table; returns whether their buffer was taken.
fn add_rows(gradient: &mut Gradient, rows: &[u32], numbers: &[f32], stride: usize) -> bool {
    let mut sums = Buffer::new(rows.len() * stride);
    numbers.iter().enumerate().for_each(|(i, &x)| sums[i * stride..i * stride + 3].fill(x));
    let before = sums.as_ptr();
    alone(|products| gradient.add_rows(products, &(0..15), rows, (&mut sums, stride)));
    sums.as_ptr() != before
}

/// What the gradient has within a range, extent by extent.
fn extents(gradient: &Gradient, range: Range<usize>) -> Vec<Range<usize>> {
    let mut all = Vec::new();
    gradient.view().for_each_extent(range, |extent, values| {
        assert_eq!(extent.len(), values.len());
        all.push(extent);
    });
    all
}

/// The elements, read as one who wants all of them.
fn elements(gradient: &Gradient, range: Range<usize>) -> Vec<f32> {
    let (mut all, mut at) = (Vec::new(), range.start);
    gradient.view().for_each(range.clone(), |extent, values| {
        assert_eq!((extent.start, extent.len()), (at, values.len()));
        at = extent.end;
        all.extend_from_slice(values);
    });
    assert_eq!(at, range.end);
    all
}

/// The first number of each row of the table.
fn rows(gradient: &Gradient) -> Vec<f32> {
    let all = elements(gradient, 0..15);
    assert!(all.chunks(3).all(|row| row == [row[0]; 3]), "{all:?}");
    all.into_iter().step_by(3).collect()
}

#[test]
fn the_first_to_write_overwrites_and_the_others_add() {
    let mut gradient = gradient();
    for step in 0..3 {
        begin(&mut gradient);
        let (start, kernel) = gradient.write(&(32..38));
        assert!(matches!(start, Start::Zero));
        kernel.fill(1.0);
        assert!(matches!(gradient.write(&(32..38)).0, Start::Keep));
        let bias = gradient.add(&(16..20));
        assert_eq!(bias, [0.0; 4], "step {step}");
        bias[1] = 7.0;
        // The second half of a bias that the first has begun.
        assert_eq!(gradient.add(&(18..20)), [0.0; 2]);
        assert_eq!(gradient.add(&(16..18)), [0.0, 7.0]);
        gradient.finish();
    }
    begin(&mut gradient);
    gradient.finish();
    assert!(gradient.whole().iter().all(|&x| x == 0.0), "what nobody wrote is zero");
    assert_eq!(extents(&gradient, 0..48), [15..16, 20..32, 38..48], "only the room between tensors is left");
}

#[test]
fn spans_of_the_step_before_are_cleared_and_the_others_passed_over() {
    let mut gradient = gradient();
    begin(&mut gradient);
    gradient.add_spans(&(0..15), [1..2, 4..5].into_iter())[3..6].fill(2.0);
    gradient.add_spans(&(0..15), std::iter::once(0..2))[0..3].fill(3.0);
    gradient.finish();
    assert_eq!(extents(&gradient, 0..16), [0..6, 12..15, 15..16]);
    assert_eq!(extents(&gradient, 4..13), [4..6, 12..13]);
    assert_eq!(rows(&gradient), [3.0, 2.0, 0.0, 0.0, 0.0]);

    begin(&mut gradient);
    gradient.add_spans(&(0..15), [0..2, 3..4].into_iter())[9..12].fill(1.0);
    add_rows(&mut gradient, &[2, 3], &[4.0, 5.0], 3);
    gradient.add_spans(&(0..15), [1..2, 2..3].into_iter());
    gradient.finish();
    assert_eq!(extents(&gradient, 0..15), vec![0..12]);
    assert_eq!(rows(&gradient), [0.0, 0.0, 4.0, 6.0, 0.0], "what the step before has left is cleared");

    // A table that is also a kernel: whole, then rows on top.
    begin(&mut gradient);
    gradient.write(&(0..15)).1.fill(1.0);
    add_rows(&mut gradient, &[2], &[4.0], 16);
    gradient.finish();
    assert_eq!(extents(&gradient, 0..15), vec![0..15]);
    assert_eq!(rows(&gradient), [1.0, 1.0, 5.0, 1.0, 1.0]);
}

#[test]
fn rows_stand_in_a_list_and_are_read_in_their_order() {
    let mut gradient = gradient();
    for stride in [3, 16] {
        begin(&mut gradient);
        assert!(add_rows(&mut gradient, &[1, 4], &[2.0, 3.0], stride), "the first has his buffer taken");
        gradient.finish();
        assert_eq!(extents(&gradient, 0..16), [3..6, 12..15, 15..16]);
        assert_eq!(extents(&gradient, 4..13), [4..6, 12..13]);
        assert!(extents(&gradient, 6..12).is_empty());
        assert_eq!(elements(&gradient, 5..13), [2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 3.0]);

        begin(&mut gradient);
        assert!(extents(&gradient, 0..15).is_empty(), "nothing is left of the step before");
        add_rows(&mut gradient, &[2, 3], &[1.0, 2.0], stride);
        assert!(!add_rows(&mut gradient, &[0, 3, 4], &[4.0, 8.0, 16.0], 4), "a second look-up in the same table");
        gradient.finish();
        assert_eq!(rows(&gradient), [4.0, 0.0, 1.0, 10.0, 16.0]);
        let whole = extents(&gradient, 0..15);
        assert_eq!(
            whole,
            if stride == 3 { [0..3, 6..12, 12..15].to_vec() } else { [0..3, 6..9, 9..12, 12..15].to_vec() }
        );
    }
}

#[test]
fn rows_go_to_the_arena_where_someone_writes_the_whole_table() {
    let mut gradient = gradient();
    for step in 0..2 {
        begin(&mut gradient);
        add_rows(&mut gradient, &[0, 3], &[1.0, 2.0], 3);
        add_rows(&mut gradient, &[1, 3], &[3.0, 4.0], 3);
        let before = rows(&gradient);
        assert_eq!(before, [1.0, 3.0, 0.0, 6.0, 0.0], "step {step}");
        match step {
            0 => assert_eq!(gradient.write(&(0..15)).1.iter().step_by(3).copied().collect::<Vec<_>>(), before),
            _ => assert_eq!(gradient.add(&(0..15)).iter().step_by(3).copied().collect::<Vec<_>>(), before),
        }
        gradient.add(&(0..15)).iter_mut().for_each(|x| *x += 1.0);
        gradient.finish();
        assert_eq!(rows(&gradient), [2.0, 4.0, 1.0, 7.0, 1.0]);
    }
    begin(&mut gradient);
    add_rows(&mut gradient, &[2], &[5.0], 3);
    gradient.finish();
    assert_eq!(gradient.whole()[..15].iter().step_by(3).copied().collect::<Vec<_>>(), [0.0, 0.0, 5.0, 0.0, 0.0]);
    assert_eq!(extents(&gradient, 0..15), vec![6..9]);
}

#[test]
fn gradients_of_replicas_add_up_however_their_rows_stand() {
    for first in 0..4 {
        for second in 0..4 {
            let [mut sum, mut other] = [first, second].map(|how| {
                let mut gradient = gradient();
                begin(&mut gradient);
                match how {
                    0 => {}
                    1 => {
                        add_rows(&mut gradient, &[1, 4], &[1.0, 2.0], 3);
                        add_rows(&mut gradient, &[0, 4], &[4.0, 8.0], 16);
                    }
                    2 => gradient.add_spans(&(0..15), std::iter::once(1..3))[3..9].fill(16.0),
                    _ => gradient.write(&(0..15)).1.fill(32.0),
                }
                gradient.finish();
                gradient
            });
            let want: Vec<f32> = rows(&sum).iter().zip(rows(&other)).map(|(a, b)| a + b).collect();
            alone(|products| sum.add_all(products, &other));
            assert_eq!(rows(&sum), want, "{first}, {second}");
            assert_eq!(sum.whole()[..15].iter().step_by(3).copied().collect::<Vec<_>>(), want);
            begin(&mut other);
            other.finish();
            assert!(other.whole().iter().all(|&x| x == 0.0));
        }
    }
}
