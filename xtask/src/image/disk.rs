//! A disk with a partition table (GPT) and its partitions, one after the other.
//!
//! No random numbers: all ids are derived from the names, so the same contents give the same disk.

use crc::{CRC_32_ISO_HDLC, Crc};

const CRC: Crc<u32> = Crc::<u32>::new(&CRC_32_ISO_HDLC);

pub const SECTOR: usize = 512;
pub const MIB: usize = 1 << 20;

/// Number and size of the table's entries, as every reader expects.
const ENTRIES: usize = 128;
const ENTRY_BYTES: usize = 128;
const TABLE_SECTORS: usize = ENTRIES * ENTRY_BYTES / SECTOR;

/// The partition type: a Linux file system (0FC63DAF-8483-4772-8E79-3D69D8477DE4).
const LINUX: [u8; 16] = [
    0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4,
];

/// A partition of the disk.
pub struct Partition {
    pub name: &'static str,
    pub mebibytes: usize,
    /// Its content; the rest is zero.
    pub bytes: Vec<u8>,
    /// Whether old boot loaders look for their files here.
    pub is_boot: bool,
}

/// The whole disk. The first and the last MiB hold the table.
///
/// # Errors
///
/// A partition's contents are larger than the partition.
pub fn disk(partitions: &[Partition]) -> Result<Vec<u8>, String> {
    let mebibytes: usize = partitions.iter().map(|partition| partition.mebibytes).sum();
    let mut disk = vec![0; (mebibytes + 2) * MIB];
    let sectors = disk.len() / SECTOR;
    let mut table = vec![0; ENTRIES * ENTRY_BYTES];
    let mut at = MIB;
    for (partition, entry) in partitions.iter().zip(table.chunks_mut(ENTRY_BYTES)) {
        let Partition { name, mebibytes, bytes, is_boot } = partition;
        let size = mebibytes * MIB;
        if bytes.len() > size {
            return Err(format!("partition {name}: got {} bytes, allowed {size}", bytes.len()));
        }
        disk[at..at + bytes.len()].copy_from_slice(bytes);
        entry[..16].copy_from_slice(&LINUX);
        entry[16..32].copy_from_slice(&id(name));
        entry[32..40].copy_from_slice(&(at / SECTOR).to_le_bytes());
        entry[40..48].copy_from_slice(&((at + size) / SECTOR - 1).to_le_bytes());
        // The bit that marks the boot partition for legacy BIOS and U-Boot.
        entry[48] = u8::from(*is_boot) << 2;
        for (unit, place) in name.encode_utf16().zip(entry[56..].chunks_mut(2)) {
            place.copy_from_slice(&unit.to_le_bytes());
        }
        at += size;
    }
    let last = sectors - 1;
    let head =
        |here: usize, other: usize, table_at: usize| header(here, other, table_at, last, &table);
    let mut put = |sector: usize, bytes: &[u8]| {
        disk[sector * SECTOR..sector * SECTOR + bytes.len()].copy_from_slice(bytes);
    };
    put(0, &protective(sectors));
    put(1, &head(1, last, 2));
    put(2, &table);
    put(last - TABLE_SECTORS, &table);
    put(last, &head(last, 1, last - TABLE_SECTORS));
    Ok(disk)
}

/// An id derived from a name, in the format of a version 4 UUID.
fn id(name: &str) -> [u8; 16] {
    let mut id = [0; 16];
    for (index, part) in id.chunks_mut(4).enumerate() {
        let text = format!("loka-stratum {name} {index}");
        part.copy_from_slice(&CRC.checksum(text.as_bytes()).to_le_bytes());
    }
    id[7] = id[7] & 0x0f | 0x40;
    id[8] = id[8] & 0x3f | 0x80;
    id
}

/// The protective MBR, which marks the whole disk as used.
fn protective(sectors: usize) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let size = u32::try_from(sectors - 1).unwrap_or(u32::MAX);
    sector[446..462].copy_from_slice(&[0, 0, 2, 0, 0xee, 0xff, 0xff, 0xff, 1, 0, 0, 0, 0, 0, 0, 0]);
    sector[458..462].copy_from_slice(&size.to_le_bytes());
    sector[510..].copy_from_slice(&[0x55, 0xaa]);
    sector
}

fn header(here: usize, other: usize, table_at: usize, last: usize, table: &[u8]) -> [u8; SECTOR] {
    let mut sector = [0; SECTOR];
    let mut put = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
    put(0, b"EFI PART");
    put(8, &0x0001_0000_u32.to_le_bytes());
    put(12, &92_u32.to_le_bytes());
    put(24, &here.to_le_bytes());
    put(32, &other.to_le_bytes());
    put(40, &(2 + TABLE_SECTORS).to_le_bytes());
    put(48, &(last - TABLE_SECTORS - 1).to_le_bytes());
    put(56, &id("disk"));
    put(72, &table_at.to_le_bytes());
    put(80, &(ENTRIES as u32).to_le_bytes());
    put(84, &(ENTRY_BYTES as u32).to_le_bytes());
    put(88, &CRC.checksum(table).to_le_bytes());
    let sum = CRC.checksum(&sector[..92]);
    sector[16..20].copy_from_slice(&sum.to_le_bytes());
    sector
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition(name: &'static str, mebibytes: usize, bytes: &[u8]) -> Partition {
        Partition { name, mebibytes, bytes: bytes.to_vec(), is_boot: name == "boot" }
    }

    #[test]
    fn what_is_in_a_partition_is_where_the_table_says() {
        let parts = [partition("boot", 2, b"first"), partition("data", 3, b"second")];
        let disk = disk(&parts).unwrap();
        assert_eq!(disk.len(), 7 * MIB);
        assert_eq!(&disk[SECTOR..SECTOR + 8], b"EFI PART");
        let entry = |index: usize| &disk[2 * SECTOR + index * ENTRY_BYTES..][..ENTRY_BYTES];
        let number = |bytes: &[u8]| usize::from_le_bytes(bytes.try_into().unwrap());
        for (index, (name, bytes)) in [("boot", "first"), ("data", "second")].iter().enumerate() {
            let first = number(&entry(index)[32..40]) * SECTOR;
            assert_eq!(&disk[first..first + bytes.len()], bytes.as_bytes());
            let units: Vec<u16> = entry(index)[56..]
                .chunks(2)
                .map(|pair| u16::from_le_bytes([pair[0], pair[1]]))
                .collect();
            assert_eq!(String::from_utf16_lossy(&units).trim_end_matches('\0'), *name);
        }
        assert_eq!((entry(0)[48], entry(1)[48]), (4, 0));
        let end = disk.len() - SECTOR;
        assert_eq!(number(&disk[end + 24..end + 32]), end / SECTOR, "the copy knows where it is");
    }

    #[test]
    fn contents_that_do_not_fit_are_refused() {
        let error = disk(&[partition("slot-a", 1, &vec![1; MIB + 1])]).unwrap_err();
        assert_eq!(error, "partition slot-a: got 1048577 bytes, allowed 1048576");
    }

    #[test]
    fn the_sums_are_those_of_the_format() {
        // The standard check value of this CRC.
        assert_eq!(CRC.checksum(b"123456789"), 0xcbf4_3926);
        let disk = disk(&[partition("data", 1, b"")]).unwrap();
        let mut head = disk[SECTOR..SECTOR + 92].to_vec();
        let sum = u32::from_le_bytes(head[16..20].try_into().unwrap());
        head[16..20].fill(0);
        assert_eq!(CRC.checksum(&head), sum);
    }
}
