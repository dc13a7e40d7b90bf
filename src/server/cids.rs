//! Which connection ids a gateway hands out: as short as there are any left, and from its own range where several
//! gateways share the records. SPEC section 4.8.

use crate::entropy::Entropy;
use crate::error::Reject;
use crate::number::ConnectionId;

use super::hello::displaced;
use super::table::{Index, Table};
use super::{Server, draw};

/// The connection ids of one gateway: those whose value starts with the bits of a prefix (M-11). A load balancer can
/// route on them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(moteseal_explore, derive(Hash))]
pub struct CidRange {
    bits: u8,
    prefix: u8,
}

impl CidRange {
    /// All of them, for a gateway that shares its records with none.
    pub const ALL: Self = Self { bits: 0, prefix: 0 };

    /// The ids whose value starts with the lower `bits` bits of `prefix`: 0 to 6 of them for up to 64 gateways.
    /// Nothing if there are more, or if `prefix` does not fit.
    pub const fn new(bits: u8, prefix: u8) -> Option<Self> {
        if bits > 6 || prefix >> bits != 0 { None } else { Some(Self { bits, prefix }) }
    }

    /// Whether this id is one of them.
    pub const fn contains(self, cid: ConnectionId) -> bool {
        cid.value() >> (cid.value_bits() - self.bits) == self.prefix as u32
    }

    /// How many of them have this length in bytes, 1 to 4.
    const fn values(self, len: u8) -> u32 {
        ConnectionId::values(len) >> self.bits
    }

    /// One of them, by its length and its place among those.
    const fn nth(self, len: u8, place: u32) -> Option<ConnectionId> {
        ConnectionId::new(len, self.prefix as u32 * self.values(len) + place)
    }
}

impl<T: Table, E: Entropy> Server<T, E> {
    /// The same server, which hands out the connection ids of this range alone. Gateways that share records need
    /// ranges that do not overlap.
    #[must_use]
    pub fn with_cids(mut self, cids: CidRange) -> Self {
        self.cids = cids;
        self
    }

    /// A connection id, as short as there is one left: that of the entry that the new one displaces, which the
    /// same write frees, so that no device needs a third (M-12); or one that no record names. Two changes under
    /// way for one device share the same: one of them at most is made.
    pub(super) fn reserve_cid(&mut self, index: Index) -> Result<ConnectionId, Reject> {
        let random = u32::from_be_bytes(draw(&mut self.entropy).map_err(Reject::Entropy)?);
        let peer = self.table.peer(index).ok_or(Reject::UnknownDevice)?;
        if let Some(cid) = peer.link.reserved {
            return Ok(cid);
        }
        let displaced = displaced(peer).map(|entry| entry.cid).filter(|cid| self.cids.contains(*cid));
        let free = (1..=4).find_map(|len| self.free_cid(len, random));
        let shortest = displaced.into_iter().chain(free).min_by_key(|cid| cid.as_bytes().len());
        let cid = shortest.ok_or(Reject::NoConnectionId)?;
        if Some(cid) == displaced {
            return Ok(cid);
        }
        self.table.claim(cid, index);
        if let Some(peer) = self.table.peer_mut(index) {
            peer.link.reserved = Some(cid);
        }
        Ok(cid)
    }

    /// A free connection id of this length. All of one byte are tried, of longer ones 64 from a random place.
    fn free_cid(&self, len: u8, random: u32) -> Option<ConnectionId> {
        let values = self.cids.values(len);
        (0..values.min(64))
            .filter_map(|step| self.cids.nth(len, random.wrapping_add(step) % values))
            .find(|cid| self.table.owner(*cid).is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_share_the_ids_of_every_length_among_them() {
        for bits in 0..=6 {
            for len in 1..=4 {
                for place in [0, CidRange::ALL.values(len) >> bits, 77].map(|n| n.saturating_sub(1)) {
                    for prefix in 0..1 << bits {
                        let range = CidRange::new(bits, prefix).unwrap();
                        let Some(cid) = range.nth(len, place).filter(|_| place < range.values(len)) else {
                            continue;
                        };
                        let owners = (0..1 << bits).filter_map(|prefix| CidRange::new(bits, prefix));
                        assert!(owners.filter(|other| other.contains(cid)).eq([range]), "{cid}");
                    }
                }
            }
        }
        assert_eq!((CidRange::new(7, 0), CidRange::new(2, 4), CidRange::new(0, 1)), (None, None, None));
        assert_eq!(CidRange::new(6, 63).unwrap().nth(1, 0), ConnectionId::new(1, 63));
        assert_eq!(CidRange::ALL.nth(4, 0x3FFF_FFFF), ConnectionId::new(4, 0x3FFF_FFFF));
    }
}
