//! The plots: one bar per contender, on a logarithmic scale.

use crate::report::OURS;
use plotters::prelude::*;
use std::error::Error;
use std::path::Path;

const WIDTH: u32 = 860;
const BAR: u32 = 26;
const AROUND: u32 = 90;
const BLUE_OF_OURS: RGBColor = RGBColor(0x1f, 0x6f, 0xb4);
const OTHERS: RGBColor = RGBColor(0xa8, 0xb2, 0xbd);

/// Writes a plot of costs in `unit`, the first at the top. Bars whose name begins with Pagestone are blue.
///
/// # Errors
/// When the file cannot be written.
pub fn bars(path: &Path, title: &str, unit: &str, costs: &[(String, f64)]) -> Result<(), Box<dyn Error>> {
    let height = AROUND + BAR * costs.len() as u32;
    let area = SVGBackend::new(path, (WIDTH, height)).into_drawing_area();
    area.fill(&WHITE).map_err(told)?;
    let values = || costs.iter().map(|(_, cost)| *cost);
    let least = values().fold(f64::INFINITY, f64::min) / 2.0;
    let most = values().fold(0.0, f64::max) * 2.5;
    // Counted from the bottom.
    let rows = costs.len() as i32;
    let name = |at: i32| costs.get((rows - 1 - at) as usize).map_or("", |(name, _)| name.as_str());
    let mut chart = ChartBuilder::on(&area)
        .caption(title, ("sans-serif", 18))
        .margin(8)
        .x_label_area_size(36)
        .y_label_area_size(270)
        .build_cartesian_2d((least..most).log_scale(), (0..rows - 1).into_segmented())
        .map_err(told)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .x_desc(unit)
        .y_labels(costs.len())
        .y_label_formatter(&|at: &SegmentValue<i32>| match at {
            SegmentValue::CenterOf(at) => name(*at).to_owned(),
            _ => String::new(),
        })
        .label_style(("sans-serif", 13))
        .draw()
        .map_err(told)?;
    for (at, (name, cost)) in costs.iter().rev().enumerate() {
        let at = at as i32;
        let colour = if name.starts_with(OURS) { BLUE_OF_OURS } else { OTHERS };
        let corners = [(least, SegmentValue::Exact(at)), (*cost, SegmentValue::Exact(at + 1))];
        let mut bar = Rectangle::new(corners, colour.filled());
        bar.set_margin(4, 4, 0, 0);
        chart.draw_series([bar]).map_err(told)?;
        let label = if *cost < 100.0 { format!("{cost:.1}") } else { format!("{cost:.0}") };
        let place = (*cost * 1.05, SegmentValue::CenterOf(at));
        let style = ("sans-serif", 13).into_font().color(&BLACK);
        let style = style.pos(plotters::style::text_anchor::Pos::new(
            plotters::style::text_anchor::HPos::Left,
            plotters::style::text_anchor::VPos::Center,
        ));
        chart.draw_series([Text::new(label, place, style)]).map_err(told)?;
    }
    area.present().map_err(told)?;
    Ok(())
}

fn told(error: impl std::fmt::Display) -> String {
    error.to_string()
}
