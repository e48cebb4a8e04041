//! `unisono get storage`: what the server's data takes on disk.

use unisono_client::Client;

use crate::failure::Failure;
use crate::output::{Console, Grid};

/// Shows what takes room, and of how many orchestrations.
///
/// # Errors
/// [`Failure`] when the server does not answer.
pub(super) async fn show(client: &Client, console: Console) -> Result<(), Failure> {
    let storage = client.storage().await?;
    if console.is_json() {
        return console.json(&storage);
    }
    let mut grid = Grid::new(console, &["WHAT", "SIZE"]);
    grid.row(["journal".into(), size(storage.journal_bytes).into()]);
    grid.row(["store".into(), size(storage.store_bytes).into()]);
    for (part, bytes) in &storage.store {
        grid.row([format!("  {part}").into(), size(*bytes).into()]);
    }
    grid.row(["free on the disk".into(), size(storage.free_bytes).into()]);
    grid.row(["reserve".into(), size(storage.reserve_bytes).into()]);
    console.line(grid.text());
    let mut grid = Grid::new(console, &["NAMESPACE", "DEFINITION", "OPEN", "ENDED"]);
    let mut any = false;
    for (namespace, definitions) in &storage.namespaces {
        for (name, stored) in definitions {
            any = true;
            grid.row([
                namespace.as_str().into(),
                name.as_str().into(),
                stored.open.to_string().into(),
                stored.ended.to_string().into(),
            ]);
        }
    }
    if any {
        console.line("");
        console.line(grid.text());
    }
    Ok(())
}

/// In the largest unit of which there is one.
fn size(bytes: u64) -> String {
    let units = ["KiB", "MiB", "GiB", "TiB"];
    let unit = (1..=units.len()).rev().find(|unit| bytes >> (10 * unit) > 0);
    match unit {
        #[expect(clippy::cast_precision_loss, reason = "one digit behind the point is shown")]
        Some(unit) => format!(
            "{:.1} {}",
            bytes as f64 / (1_u64 << (10 * unit)) as f64,
            units[unit - 1]
        ),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_shown_in_the_largest_unit() {
        let said = [0, 1_023, 1_536, 64 << 20, 5 << 40].map(size);
        assert_eq!(said, ["0 B", "1023 B", "1.5 KiB", "64.0 MiB", "5.0 TiB"]);
    }
}
