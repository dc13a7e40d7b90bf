//! A sensor with a lamp: sends the temperature of its chip to a gateway every half minute, and takes the commands `on`
//! and `off`. What a firmware of your own needs of Moteseal is in this file; see README.md.

#![no_std]
#![no_main]

mod ethernet;
mod layout;

use core::cell::RefCell;
use core::fmt::Display;
use core::future::pending;
use core::net::{Ipv4Addr, SocketAddrV4};
use core::task::Poll;

use defmt::{Debug2Format, Display2Format, error, info, warn};
use defmt_rtt as _;
use embassy_executor::Spawner;
use embassy_futures::poll_once;
use embassy_futures::select::{Either3, select3};
use embassy_net::udp::{PacketMetadata, UdpSocket};
use embassy_rp::adc::{self, Adc};
use embassy_rp::flash::{self, Blocking, Flash};
use embassy_rp::gpio::{Level, Output};
use embassy_rp::peripherals::{FLASH, TRNG};
use embassy_rp::trng::{self, Trng};
use embassy_rp::{bind_interrupts, config};
use embassy_time::{Duration, Instant, Ticker, Timer};
use moteseal::boot_counter::NorBootCounter;
use moteseal::device::{CommandAge, Config, Confirm, Device, Hardware, Parts, Payload, Received, Timing};
use moteseal::entropy::RandCore09;
use moteseal::error::{RegionError, SendError};
use moteseal::flash::SharedFlash;
use moteseal::key_slots::NorKeySlots;
use panic_probe as _;

use ethernet::Wires;

/// The gateway: `moteseal serve --listen 0.0.0.0:4242` on a host of yours.
const GATEWAY: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(192, 0, 2, 1), 4242);
/// How often telemetry is sent.
const PERIOD: Duration = Duration::from_secs(30);
/// The longest datagram in bytes: a payload may have 37 less.
const DATAGRAM: usize = 128;
/// A lamp must not obey a command that somebody held back on the network.
const CONFIG: Config =
    Config { timing: Timing::DEFAULT, command_age: CommandAge::Refuse { bound_ms: 120_000 } };

type BoardFlash = Flash<'static, FLASH, Blocking, { layout::FLASH_LEN as usize }>;

// The layout against what the drivers say.
const _: () = {
    assert!(layout::PAGE_LEN as usize == flash::ERASE_SIZE);
    assert!(layout::COUNTER == layout::FACTORY + NorKeySlots::<BoardFlash>::LEN);
    assert!(layout::COUNTER + NorBootCounter::<BoardFlash>::LEN == layout::FLASH_LEN);
};

bind_interrupts!(struct Irqs {
    TRNG_IRQ => trng::InterruptHandler<TRNG>;
    ADC_IRQ_FIFO => adc::InterruptHandler;
});

#[embassy_executor::main]
async fn main(spawner: Spawner) {
    let p = embassy_rp::init(config::Config::default());
    let mut rng = Trng::new(p.TRNG, Irqs, trng::Config::default());
    let seed = rng.blocking_next_u64();
    let flash = RefCell::new(Flash::new_blocking(p.FLASH));

    // Before there is a network: a device that cannot boot sends nothing.
    let hardware = match hardware(&flash, rng) {
        Ok(hardware) => hardware,
        Err(error) => return stop(&error),
    };
    let device = match Device::boot(hardware, CONFIG) {
        Ok(device) => device,
        Err(error) => return stop(&error),
    };
    info!("device {}", Display2Format(&device.device_id()));

    let [.., c, d, e, f, g] = *device.device_id().as_bytes();
    let mac = [0x02, c, d, e, f, g]; // locally administered
    let wires = Wires {
        spi: p.SPI0,
        miso: p.PIN_16,
        select: p.PIN_17,
        clock: p.PIN_18,
        mosi: p.PIN_19,
        reset: p.PIN_20,
        interrupt: p.PIN_21,
        dma: (p.DMA_CH0, p.DMA_CH1),
    };
    let Some(stack) = ethernet::start(spawner, wires, mac, seed).await else {
        return stop(&"the W5500 does not start");
    };
    stack.wait_config_up().await;

    let (mut sent, mut received) = ([PacketMetadata::EMPTY; 4], [PacketMetadata::EMPTY; 4]);
    let (mut sending, mut receiving) = ([0; 4 * DATAGRAM], [0; 4 * DATAGRAM]);
    let mut socket = UdpSocket::new(stack, &mut received, &mut receiving, &mut sent, &mut sending);
    if socket.bind(0).is_err() {
        return stop(&"no UDP port is free");
    }
    let thermometer = Thermometer {
        adc: Adc::new(p.ADC, Irqs, adc::Config::default()),
        channel: adc::Channel::new_temp_sensor(p.ADC_TEMP_SENSOR),
    };
    let lamp = Output::new(p.PIN_25, Level::Low);
    Sensor { device, socket, lamp, out: [0; DATAGRAM] }.run(thermometer).await;
}

fn stop(error: &dyn Display) {
    error!("stopped, and nothing was sent: {}", Display2Format(error));
}

/// One flash for the keys and the boot counter, and the generator of the chip.
fn hardware<'f>(
    flash: &'f RefCell<BoardFlash>,
    rng: Trng<'static, TRNG>,
) -> Result<impl Hardware + use<'f>, RegionError> {
    let keys = NorKeySlots::new(SharedFlash::new(flash), layout::FACTORY)?;
    let counter = NorBootCounter::new(SharedFlash::new(flash), layout::COUNTER)?;
    Ok(Parts::new(counter, keys, RandCore09(rng)))
}

struct Sensor<'s, H> {
    device: Device<H, DATAGRAM>,
    socket: UdpSocket<'s>,
    lamp: Output<'static>,
    out: [u8; DATAGRAM],
}

impl<H: Hardware> Sensor<'_, H> {
    async fn run(mut self, mut thermometer: Thermometer) -> ! {
        let mut ticker = Ticker::every(PERIOD);
        let mut datagram = [0; DATAGRAM];
        loop {
            self.send_due();
            let deadline = until(self.device.deadline());
            match select3(self.socket.recv_from(&mut datagram), deadline, ticker.next()).await {
                // It does not matter who sent it: the tag decides.
                Either3::First(Ok((len, _))) => self.take(datagram.get_mut(..len).unwrap_or_default()),
                // Longer than what a gateway sends to this device.
                Either3::First(Err(_)) | Either3::Second(()) => {}
                Either3::Third(()) => self.report(thermometer.read().await),
            }
        }
    }

    /// Whatever the protocol has due: acknowledgements, repeats, a new Hello.
    fn send_due(&mut self) {
        loop {
            match self.device.poll(now(), &mut self.out) {
                Ok(Some(datagram)) => transmit(&self.socket, datagram),
                Ok(None) => return,
                // A fault of flash or RNG. It is tried again by itself, later and later.
                Err(error) => return error!("nothing was sent: {}", Display2Format(&error)),
            }
        }
    }

    fn report(&mut self, celsius: Result<i32, adc::Error>) {
        let text: heapless::String<16> = match celsius.map(|celsius| heapless::format!("{celsius} C")) {
            Ok(Ok(text)) => text,
            _ => return warn!("no temperature"),
        };
        match self.device.send(now(), text.as_bytes(), Confirm::Yes, &mut self.out) {
            Ok(sent) => {
                if let Some(datagram) = sent.datagram {
                    transmit(&self.socket, datagram);
                }
            }
            Err(SendError::Busy) => info!("the last report is still under way; this one is dropped"),
            Err(error) => error!("nothing was sent: {}", Display2Format(&error)),
        }
    }

    /// A datagram that is not authentic, or comes again, is dropped in silence.
    fn take(&mut self, datagram: &mut [u8]) {
        let Ok(Received { payload, settled, event, .. }) = self.device.receive(now(), datagram) else {
            return;
        };
        if let Some(command) = payload {
            obey(&command, &mut self.lamp);
        }
        for settled in settled {
            // *Unknown*: the gateway may or may not have it. A report of old is not worth another try.
            info!("report {}", Debug2Format(&settled.outcome));
        }
        if let Some(event) = event {
            info!("{}", Debug2Format(&event));
        }
    }
}

/// A command is delivered once.
fn obey(command: &Payload<'_>, lamp: &mut Output<'_>) {
    match command.bytes {
        b"on" => lamp.set_high(),
        b"off" => lamp.set_low(),
        _ => warn!("a command that this firmware does not know"),
    }
}

/// What the socket has no room for is lost, as on the network: what matters is repeated.
fn transmit(socket: &UdpSocket<'_>, datagram: &[u8]) {
    match poll_once(socket.send_to(datagram, GATEWAY)) {
        Poll::Ready(Ok(())) => {}
        Poll::Ready(Err(error)) => warn!("{}", Debug2Format(&error)),
        Poll::Pending => warn!("too much to send"),
    }
}

/// Milliseconds since the chip started.
fn now() -> u64 {
    Instant::now().as_millis()
}

async fn until(deadline: Option<u64>) {
    match deadline {
        Some(deadline) => Timer::at(Instant::from_millis(deadline)).await,
        None => pending().await,
    }
}

struct Thermometer {
    adc: Adc<'static, adc::Async>,
    channel: adc::Channel<'static>,
}

impl Thermometer {
    /// In degrees Celsius: 27 at 706 mV, and 1 less for each 1.721 mV more, as the datasheet has it. A step of
    /// the converter is 805.66 microvolts.
    async fn read(&mut self) -> Result<i32, adc::Error> {
        let microvolts = i32::from(self.adc.read(&mut self.channel).await?) * 80_566 / 100;
        Ok(27 - (microvolts - 706_000) / 1_721)
    }
}
