//! The tables of protocols, as the host wants them.

use crtmp_host::chains::Catalogue;
use crtmp_registry::{LATER, chains, layers};

/// All layers and chains of the program.
///
/// # Errors
///
/// If the tables contradict themselves.
pub(crate) fn catalogue() -> Result<Catalogue, String> {
    let mut catalogue = Catalogue::new(LATER);
    for row in layers() {
        catalogue.add_layer(row)?;
    }
    for row in chains() {
        catalogue.add_chain(row)?;
    }
    Ok(catalogue)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_tables_fit_together() {
        assert_eq!(super::catalogue().err(), None);
    }
}
