//! What a gateway makes of records that come late, twice, or in the wrong order: SPEC 8.

use moteseal::error::Reject;
use moteseal::record::Status;
use moteseal::server::Table;

use crate::gateways::*;
use crate::support::*;

impl Pair {
    /// The device says Hello, keeps its session, and somebody carries the Hello to a gateway, which offers a session.
    fn carries(&mut self, gateway: usize, device: &mut Device) {
        let session = device.session.take();
        let delayed = device.hello(b"");
        device.session = session;
        let _ = self.at(gateway).welcomes(THERE, &delayed);
    }
}

/// A session that the record does not name ends by *close*: its connection id belongs to nobody then.
#[test]
fn m_76_the_id_of_a_session_that_closes_unnamed_is_free() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    let cid = cid_of(&device);
    pair.carries(B, &mut device);
    pair.refresh(A);
    let close = device.control(&moteseal::control::Control::Close, false);
    let _ = pair.stale(A).hears(HERE, &close);
    assert_eq!(pair.stale(A).server.table().owner(cid), None);
}

/// An operator quarantines a device at A and readmits it at B.
#[test]
fn a_readmission_by_another_gateway_counts() {
    let mut device = Device::new(1);
    let mut pair = Pair::new(&[&device]);
    pair.at(A).connect(&mut device, HERE);
    assert_eq!(pair.at(A).set_status(&device, Status::Quarantined), None);
    let data = device.data(b"x", true);
    assert_eq!(pair.at(A).rejects(HERE, &data), Reject::NotActive);
    assert_eq!(pair.at(B).set_status(&device, Status::Active), None);
    assert!(pair.at(A).hears(HERE, &data).payload.is_some());
}
