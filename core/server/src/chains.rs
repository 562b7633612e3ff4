//! The tables of protocols, as the host wants them.

use crtmp_host::chains::Catalogue;
use crtmp_media::ChainRow;
use crtmp_registry::{CHAINS, LATER, layers};

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
    for (name, layers) in CHAINS {
        let layers = layers.iter().map(|layer| (*layer).into()).collect();
        catalogue.add_chain(ChainRow { name: (*name).into(), layers })?;
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
