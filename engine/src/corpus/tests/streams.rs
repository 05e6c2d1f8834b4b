use super::*;

/// Tokens 0, 1, 2, ... so that a token is its position.
fn numbered(len: u32) -> MemoryTokens {
    MemoryTokens::new((0..len).collect(), len.max(1) as usize + 1000).expect("in range")
}

/// Every (row, input, target) of all batches in order, targets `None` where they are ignored.
fn steps<S: TokenSource>(streams: &Streams<S>) -> Vec<(usize, u32, Option<u32>)> {
    let (n, t) = (streams.rows(), streams.steps());
    let (mut inputs, mut targets) = (vec![77; n * t], vec![77; n * t]);
    let mut all = Vec::new();
    for index in 0..streams.batches() {
        let steps = streams.batch(index, &mut inputs, &mut targets).expect("in memory");
        assert_eq!(steps, streams.steps_in(index));
        assert!(steps == t || index + 1 == streams.batches());
        for (at, (&input, &target)) in inputs.iter().zip(&targets).enumerate() {
            if at < steps * n {
                all.push((at % n, input, Some(target).filter(|&target| target != IGNORE)));
            } else {
                assert_eq!((input, target), (0, IGNORE));
            }
        }
    }
    let scored = all.iter().filter(|step| step.2.is_some()).count() as u64;
    assert_eq!(scored, streams.scored());
    all
}

#[test]
fn training_rows_go_on_from_batch_to_batch() {
    let tokens = numbered(1000);
    for (rows, t, range) in [(3, 7, 0..1000), (1, 1, 5..40), (4, 300, 0..1000), (20, 35, 100..990)] {
        let Ok(streams) = Streams::new(&tokens, range.clone(), rows, t) else {
            assert_eq!((rows, t), (4, 300), "only this one is too short");
            continue;
        };
        let each = (range.end - range.start) / rows as u64;
        assert_eq!(streams.batches(), each.div_ceil(t as u64));
        let mut next: Vec<u64> = (0..rows as u64).map(|n| range.start + n * each).collect();
        for (row, input, target) in steps(&streams) {
            assert_eq!(u64::from(input), next[row]);
            let expected = Some(input + 1).filter(|&target| u64::from(target) < range.end);
            assert_eq!(target, expected);
            next[row] += 1;
        }
    }
}

#[test]
fn evaluation_scores_every_token_once() {
    let tokens = numbered(1000);
    for (rows, t, range, warmup, initial) in [
        (1, 7, 0..1000, 0, None),
        (1, 7, 0..1000, 0, Some(1500)),
        (6, 50, 0..1000, 30, Some(1500)),
        (7, 300, 10..990, 5, None),
        (7, 300, 10..990, 5, Some(1500)),
        (50, 3, 900..910, 3, None),
        (50, 3, 900..901, 3, None),
        (5, 3, 0..1, 100, Some(1500)),
    ] {
        let how = Evaluation { warmup, initial };
        let streams = Streams::evaluation(&tokens, range.clone(), rows, t, how).expect("long enough");
        let mut seen = vec![0; 1000];
        let mut lengths = vec![0; rows];
        let mut context = vec![None; rows];
        for (row, input, target) in steps(&streams) {
            if let Some(target) = target {
                seen[target as usize] += 1;
                if u64::from(target) == range.start && initial.is_some() {
                    assert_eq!((row, Some(input)), (0, initial));
                } else {
                    assert_eq!(input + 1, target);
                }
                context[row].get_or_insert(lengths[row]);
            }
            if target.is_some() || context[row].is_none() {
                lengths[row] += 1;
            }
        }
        let first = range.start + u64::from(range.start == 0 && initial.is_none());
        for (position, &times) in seen.iter().enumerate() {
            assert_eq!(times, u32::from((first..range.end).contains(&(position as u64))), "{position}");
        }
        let used: Vec<usize> = (0..rows).filter(|&row| context[row].is_some()).collect();
        let (least, most) = (used.iter().map(|&row| lengths[row]).min(), used.iter().map(|&row| lengths[row]).max());
        assert!(most <= least.map(|least| least + 1), "{lengths:?}");
        for &row in &used {
            assert_eq!(context[row], Some(if row == 0 { 0 } else { warmup }), "row {row}");
        }
    }
    assert!(Streams::evaluation(&tokens, 0..1, 2, 3, Evaluation::default()).is_err());
    assert!(Streams::evaluation(&tokens, 5..5, 2, 3, Evaluation { warmup: 0, initial: Some(1) }).is_err());
}

#[test]
fn the_streams_split_is_char_rnns() {
    // 10 batches of 3 x 4 of 125 tokens; one twentieth validates: floor(10 x 0.95) = 9 train.
    let tokens = numbered(125);
    let split = Split::Streams(HeldShares::valid(0.05));
    let train = split.train(&tokens, 3, 4).expect("long enough");
    let valid =
        split.held(Held::Valid, &tokens, 3, 4, Evaluation::default()).expect("long enough").expect("a part validates");
    assert_eq!((train.batches(), valid.batches()), (9, 1));
    let row = |streams: &Streams<&MemoryTokens>, wanted: usize| {
        let steps = steps(streams);
        let row: Vec<_> = steps.iter().filter(|step| step.0 == wanted).copied().collect();
        assert!(row.iter().all(|step| step.2 == Some(step.1 + 1)));
        (row[0].1, row[row.len() - 1].1)
    };
    for n in 0..3 {
        let start = n as u32 * 40;
        assert_eq!(row(&train, n), (start, start + 35));
        assert_eq!(row(&valid, n), (start + 36, start + 39));
    }
    // Without a token after the last batch, the last target is ignored.
    let exact = numbered(120);
    let valid =
        split.held(Held::Valid, &exact, 3, 4, Evaluation::default()).expect("long enough").expect("a part validates");
    assert_eq!(steps(&valid).last(), Some(&(2, 119, None)));
    // Of a long text no more is held out than is enough: two batches of 12 tokens for 13, and never less than one.
    for (enough, batches) in [(13, 2), (12, 1), (1, 1), (1000, 5)] {
        let split = Split::Streams(HeldShares { enough, ..HeldShares::valid(0.5) });
        let valid = split
            .held(Held::Valid, &tokens, 3, 4, Evaluation::default())
            .expect("long enough")
            .expect("a part validates");
        let train = split.train(&tokens, 3, 4).expect("long enough");
        assert_eq!((train.batches(), valid.batches()), (10 - batches, batches), "{enough} are enough");
    }
    // A fraction of one half of ten is five, whatever its rounding.
    let tenth = Split::Streams(HeldShares::valid(0.1)).train(&tokens, 3, 4).expect("long enough");
    assert_eq!(tenth.batches(), 9);
    // With a share to test, what trains and what validates are rounded down: 7.5 of 10 train, 1.5 validate.
    let shares = HeldShares { test: 0.1, ..HeldShares::valid(0.15) };
    let split = Split::Streams(shares);
    let held = |part| split.held(part, &tokens, 3, 4, Evaluation::default()).expect("long enough").expect("a part");
    let (valid, test) = (held(Held::Valid), held(Held::Test));
    let train = split.train(&tokens, 3, 4).expect("long enough");
    assert_eq!([train.batches(), valid.batches(), test.batches()], [7, 1, 2]);
    for n in 0..3 {
        let start = n as u32 * 40;
        assert_eq!(row(&train, n), (start, start + 27));
        assert_eq!(row(&valid, n), (start + 28, start + 31));
        assert_eq!(row(&test, n), (start + 32, start + 39));
    }
    // What is too much to validate goes back to training; the test stays where it is.
    let split = Split::Streams(HeldShares { valid: 0.5, test: 0.1, enough: 20 });
    let valid = split.held(Held::Valid, &tokens, 3, 4, Evaluation::default()).expect("long enough").expect("a part");
    assert_eq!((row(&valid, 0), valid.batches()), ((28, 35), 2));
}

#[test]
fn the_tail_split_keeps_the_end() {
    let tokens = numbered(1000);
    let split = Split::Tail(HeldShares::valid(0.05));
    let train = split.train(&tokens, 10, 5).expect("long enough");
    assert_eq!(steps(&train).iter().map(|step| step.1).max(), Some(949));
    let valid =
        split.held(Held::Valid, &tokens, 4, 5, Evaluation::default()).expect("long enough").expect("a part validates");
    let scored: Vec<u32> = steps(&valid).iter().filter_map(|step| step.2).collect();
    assert_eq!((scored.iter().min(), scored.len()), (Some(&950), 50), "the first is predicted from the training part");
    let enough = Split::Tail(HeldShares { enough: 7, ..HeldShares::valid(0.05) });
    assert_eq!(enough.train(&tokens, 10, 5).expect("long enough").scored(), 990);
    let valid =
        enough.held(Held::Valid, &tokens, 4, 5, Evaluation::default()).expect("long enough").expect("a part validates");
    assert_eq!(valid.scored(), 7);
    let shares = HeldShares { test: 0.1, ..HeldShares::valid(0.05) };
    assert_eq!(Split::Tail(shares).ends(1000).expect("in range"), [850, 900]);
    let test = Split::Tail(shares).held(Held::Test, &tokens, 4, 5, Evaluation::default());
    let scored: Vec<u32> =
        steps(&test.expect("long enough").expect("a part tests")).iter().filter_map(|step| step.2).collect();
    assert_eq!((scored.iter().min(), scored.iter().max(), scored.len()), (Some(&900), Some(&999), 100));
    // Nothing to validate and something to test.
    let tested = Split::Tail(HeldShares { test: 0.1, ..HeldShares::valid(0.0) });
    assert!(tested.held(Held::Valid, &tokens, 4, 5, Evaluation::default()).expect("nothing to do").is_none());
    assert_eq!(tested.ends(1000).expect("in range"), [900, 900]);
    assert!(Split::None.held(Held::Valid, &tokens, 4, 5, Evaluation::default()).expect("nothing to do").is_none());
    assert_eq!(Split::None.train(&tokens, 10, 5).expect("long enough").scored(), 999);
}

#[test]
fn messages() {
    let tokens = numbered(100);
    let how = Evaluation::default();
    let message = |result: Result<Streams<&MemoryTokens>>| match result {
        Ok(_) => "long enough".to_owned(),
        Err(error) => error.to_string(),
    };
    let all = [
        message(Streams::new(&tokens, 0..100, 10, 11)),
        message(Streams::new(&tokens, 0..100, 10, 10)),
        message(Split::Streams(HeldShares::valid(0.05)).train(&tokens, 100, 100)),
        message(Split::Streams(HeldShares::valid(0.05)).train(&tokens, 10, 10)),
        message(Split::Streams(HeldShares::valid(1.5)).train(&tokens, 10, 10)),
        message(Split::Tail(HeldShares::valid(f64::NAN)).train(&tokens, 10, 10)),
        message(Split::Tail(HeldShares::valid(0.05)).train(&tokens, 10, 10)),
        message(Split::Tail(HeldShares { test: 0.5, ..HeldShares::valid(0.5) }).train(&tokens, 10, 1)),
        message(Split::Streams(HeldShares { test: 0.1, ..HeldShares::valid(0.1) }).train(&tokens, 10, 2)),
        message(Streams::evaluation(&tokens, 0..1, 10, 10, how)),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn what_is_held_out_is_no_part_of_what_trains() {
    for split in [
        Split::Streams(HeldShares { valid: 0.1, test: 0.2, enough: u64::MAX }),
        Split::Tail(HeldShares::valid(0.3)),
        Split::None,
    ] {
        let (rows, per_batch, len) = (4, 5, 1013);
        let train = split.train(numbered(len), rows, per_batch).unwrap();
        let mut seen = vec![false; len as usize];
        for (_, input, target) in steps(&train) {
            seen[input as usize] = true;
            target.into_iter().for_each(|target| seen[target as usize] = true);
        }
        let mut parts = vec![false; len as usize];
        for part in split.training_parts(u64::from(len), rows, per_batch).unwrap() {
            parts[part.start as usize..part.end as usize].fill(true);
        }
        // Streams of all of a range leave the few tokens out that fill no row.
        let left = parts.iter().zip(&seen).filter(|(part, seen)| part != seen).count();
        assert!(left < rows && seen.iter().zip(&parts).all(|(seen, part)| part >= seen), "{split:?}: {left}");
    }
}
