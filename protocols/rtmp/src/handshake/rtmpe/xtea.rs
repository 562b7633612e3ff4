//! What RTMPE of version 8 does to signatures: XTEA, 32 rounds, numbers with the lowest byte first.

/// Enciphers a signature of 32 bytes block by block, each with the one of [`KEYS`] that a byte of `chooser` says.
pub(super) fn encipher(signature: &mut [u8; 32], chooser: &[u8; 32]) {
    let (blocks, _) = signature.as_chunks_mut::<8>();
    let (choosers, _) = chooser.as_chunks::<8>();
    for (block, chooser) in blocks.iter_mut().zip(choosers) {
        // The sixteenth key is never used.
        encipher_block(block, &KEYS[usize::from(chooser[0]) % 15]);
    }
}

fn encipher_block(block: &mut [u8; 8], key: &[u32; 4]) {
    const DELTA: u32 = 0x9E37_79B9;
    let [a, b, c, d, e, f, g, h] = *block;
    let (mut low, mut high) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
    let mix = |half: u32, sum: u32, word: u32| {
        ((half << 4) ^ (half >> 5)).wrapping_add(half) ^ sum.wrapping_add(key[(word & 3) as usize])
    };
    let mut sum = 0_u32;
    for _ in 0..32 {
        low = low.wrapping_add(mix(high, sum, sum));
        sum = sum.wrapping_add(DELTA);
        high = high.wrapping_add(mix(low, sum, sum >> 11));
    }
    block[..4].copy_from_slice(&low.to_le_bytes());
    block[4..].copy_from_slice(&high.to_le_bytes());
}

/// The keys that Flash Player and its servers share.
const KEYS: [[u32; 4]; 15] = [
    [0xBFF0_34B2, 0x11D9_081F, 0xCCDF_B795, 0x748D_E732],
    [0x086A_5EB6, 0x1743_090E, 0x6EF0_5AB8, 0xFE5A_39E2],
    [0x7B10_956F, 0x76CE_0521, 0x2388_A73A, 0x4401_49A1],
    [0xA943_F317, 0xEBF1_1BB2, 0xA691_A5EE, 0x17F3_6339],
    [0x7A30_E00A, 0xB529_E22C, 0xA087_AEA5, 0xC0CB_79AC],
    [0xBDCE_0C23, 0x2FEB_DEFF, 0x1CFA_AE16, 0x1123_239D],
    [0x55DD_3F7B, 0x77E7_E62E, 0x9BB8_C499, 0xC948_1EE4],
    [0x407B_B6B4, 0x71E8_9136, 0xA7AE_BF55, 0xCA33_B839],
    [0xFCF6_BDC3, 0xB63C_3697, 0x7CE4_F825, 0x04D9_59B2],
    [0x28E0_91FD, 0x4195_4C4C, 0x7FB7_DB00, 0xE3A0_66F8],
    [0x5784_5B76, 0x4F25_1B03, 0x46D4_5BCD, 0xA2C3_0D29],
    [0x0ACC_EEF8, 0xDA55_B546, 0x0347_3452, 0x5863_713B],
    [0xB820_75DC, 0xA75F_1FEE, 0xD842_68E8, 0xA72A_44CC],
    [0x07CF_6E9E, 0xA16D_7B25, 0x9FA7_AE6C, 0xD92F_5629],
    [0xFEB1_EAE4, 0x8C8C_3CE1, 0x4E00_64A7, 0x6A38_7C2A],
];

#[cfg(test)]
mod tests {
    use super::*;

    /// Vectors of the cipher itself, in its usual order of bytes: the words of block and key are turned round.
    #[test]
    fn it_is_xtea() {
        for (key, plain, cipher) in [
            ([0, 0, 0, 0], [0, 0], [0xDEE9_D4D8, 0xF713_1ED9]),
            (
                [0x0001_0203, 0x0405_0607, 0x0809_0A0B, 0x0C0D_0E0F],
                [0x4142_4344, 0x4546_4748],
                [0x497D_F3D0, 0x7261_2CB5],
            ),
        ] {
            let bytes = |words: [u32; 2]| -> [u8; 8] {
                let [low, high] = words.map(u32::to_le_bytes);
                [low, high].concat().try_into().unwrap()
            };
            let mut block = bytes(plain);
            encipher_block(&mut block, &key);
            assert_eq!(block, bytes(cipher));
        }
    }
}
