//! The statistics against what R computes: `wilcox.tsv` and `exact.tsv` beside the golden journals were written by
//! `golden/statistics.R`.

use std::fs;
use std::path::PathBuf;

use unisono_engine::rollout::analysis::{binomial, fisher, mann_whitney};
use unisono_model::rollout::{Alternative, Counted};

fn rows(file: &str) -> Vec<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(file);
    let text = fs::read_to_string(path).unwrap();
    text.lines()
        .map(|line| line.split('\t').map(str::to_owned).collect())
        .collect()
}

fn alternative(word: &str) -> Alternative {
    match word {
        "greater" => Alternative::Greater,
        "less" => Alternative::Less,
        "two.sided" => Alternative::TwoSided,
        other => panic!("{other}"),
    }
}

fn numbers(text: &str) -> Vec<f64> {
    text.split_whitespace().map(|it| it.parse().unwrap()).collect()
}

#[test]
fn mann_and_whitney_agree_with_r() {
    let rows = rows("wilcox.tsv");
    assert!(rows.len() >= 300);
    for row in rows {
        let (first, second) = (numbers(&row[1]), numbers(&row[2]));
        let (w, p): (f64, f64) = (row[3].trim().parse().unwrap(), row[4].trim().parse().unwrap());
        let test = mann_whitney(&first, &second, alternative(&row[0])).unwrap();
        assert!(
            (test.w - w).abs() < 1e-9 && (test.p - p).abs() < 1e-6,
            "{test:?} {row:?}"
        );
        assert!(p == 0.0 || ((test.p - p) / p).abs() < 1e-6, "{test:?} {row:?}");
    }
}

#[test]
fn exact_tests_agree_with_r() {
    let rows = rows("exact.tsv");
    assert!(rows.len() >= 100);
    for row in rows {
        let numbers: Vec<f64> = row[2..].iter().map(|it| it.trim().parse().unwrap()).collect();
        let counted = |errors: f64, total: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "small whole numbers"
            )]
            Counted {
                errors: errors as u64,
                total: total as u64,
            }
        };
        let (found, expected) = match row[0].as_str() {
            "fisher" => {
                let (first, second) = (counted(numbers[0], numbers[1]), counted(numbers[2], numbers[3]));
                (fisher(first, second, alternative(&row[1])), numbers[4])
            }
            _ => (
                binomial(counted(numbers[0], numbers[1]), numbers[2], alternative(&row[1])),
                numbers[3],
            ),
        };
        assert!((found - expected).abs() < 1e-6, "{found} {row:?}");
    }
}
