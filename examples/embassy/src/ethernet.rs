//! The W5500 on SPI 0, wired as on the W5500-EVB-Pico2 or on its maker's Ethernet HAT for a Pico 2, and the network
//! stack on top. Knows nothing of Moteseal.

use embassy_executor::Spawner;
use embassy_net::{DhcpConfig, Stack, StackResources};
use embassy_net_wiznet::chip::W5500;
use embassy_net_wiznet::{Device, Runner, State};
use embassy_rp::gpio::{Input, Level, Output, Pull};
use embassy_rp::peripherals::{DMA_CH0, DMA_CH1, PIN_16, PIN_17, PIN_18, PIN_19, PIN_20, PIN_21, SPI0};
use embassy_rp::spi::{self, Async, Spi};
use embassy_rp::{Peri, bind_interrupts, dma};
use embassy_time::Delay;
use embedded_hal_bus::spi::ExclusiveDevice;
use static_cell::StaticCell;

bind_interrupts!(struct Irqs {
    DMA_IRQ_0 => dma::InterruptHandler<DMA_CH0>, dma::InterruptHandler<DMA_CH1>;
});

/// What the W5500 is wired to.
pub struct Wires {
    pub spi: Peri<'static, SPI0>,
    pub miso: Peri<'static, PIN_16>,
    pub select: Peri<'static, PIN_17>,
    pub clock: Peri<'static, PIN_18>,
    pub mosi: Peri<'static, PIN_19>,
    pub reset: Peri<'static, PIN_20>,
    pub interrupt: Peri<'static, PIN_21>,
    pub dma: (Peri<'static, DMA_CH0>, Peri<'static, DMA_CH1>),
}

type Bus = ExclusiveDevice<Spi<'static, SPI0, Async>, Output<'static>, Delay>;

#[embassy_executor::task]
async fn run_chip(runner: Runner<'static, W5500, Bus, Input<'static>, Output<'static>>) -> ! {
    runner.run().await
}

#[embassy_executor::task]
async fn run_stack(mut runner: embassy_net::Runner<'static, Device<'static>>) -> ! {
    runner.run().await
}

/// Starts chip and stack, which ask for an address by DHCP. Nothing if the chip does not answer. Call it once.
pub async fn start(spawner: Spawner, wires: Wires, mac: [u8; 6], seed: u64) -> Option<Stack<'static>> {
    static STATE: StaticCell<State<4, 4>> = StaticCell::new();
    static RESOURCES: StaticCell<StackResources<2>> = StaticCell::new(); // DHCP and one UDP socket

    let mut config = spi::Config::default();
    config.frequency = 20_000_000;
    let Wires { spi, clock, mosi, miso, dma: (to_chip, from_chip), .. } = wires;
    let spi = Spi::new(spi, clock, mosi, miso, to_chip, from_chip, Irqs, config);
    let bus = ExclusiveDevice::new(spi, Output::new(wires.select, Level::High), Delay).ok()?;
    let interrupt = Input::new(wires.interrupt, Pull::Up);
    let reset = Output::new(wires.reset, Level::High);
    let state = STATE.init(State::new());
    let (device, chip) = embassy_net_wiznet::new(mac, state, bus, interrupt, reset).await.ok()?;

    let dhcp = embassy_net::Config::dhcpv4(DhcpConfig::default());
    let (stack, runner) = embassy_net::new(device, dhcp, RESOURCES.init(StackResources::new()), seed);
    spawner.spawn(run_chip(chip).ok()?);
    spawner.spawn(run_stack(runner).ok()?);
    Some(stack)
}
