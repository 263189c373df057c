"use strict";
// Draws every chart of the page from the JSON beside it, follows the light and the dark theme, and keeps charts over
// steps on one range.
(() => {
  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const coarse = matchMedia("(pointer: coarse)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const narrow = matchMedia("(max-width: 40rem)");
  const charts = [...document.querySelectorAll(".chart")];

  // A colour may be named by one of the page's variables; plotly needs the colour itself.
  const painted = (value, key) => {
    if (Array.isArray(value)) return value.map((part) => painted(part, key));
    if (value && typeof value === "object") {
      return Object.fromEntries(Object.entries(value).map(([name, part]) => [name, painted(part, name)]));
    }
    const named = typeof value === "string" && /color(way)?$/i.test(key) && /^--[a-z0-9-]+$/.test(value);
    return named ? css(value) : value;
  };

  const look = () => {
    const line = css("--line");
    const axis = {
      gridcolor: line, linecolor: line, zerolinecolor: line, tickcolor: line, automargin: true, ticks: "outside",
      ticklen: 4, showline: true, zeroline: false, title: { standoff: 8, font: { color: css("--muted") } },
    };
    // Where the buttons are always shown they have the chart's top to themselves.
    const place = coarse.matches ? { yref: "container", y: 0, yanchor: "bottom" } : { y: 1.02, yanchor: "bottom" };
    const space = { gridcolor: line, linecolor: line, zerolinecolor: line, backgroundcolor: css("--card") };
    return {
      layout: {
        paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
        colorway: [1, 2, 3, 4, 5, 6].map((place) => css(`--series-${place}`)),
        font: { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 11 : 12, color: css("--muted") },
        xaxis: { ...axis, separatethousands: true }, yaxis: { ...axis, exponentformat: "e", minexponent: 5, separatethousands: true },
        scene: { xaxis: space, yaxis: space, zaxis: space, dragmode: "turntable" },
        legend: { orientation: "h", x: 0, xanchor: "left", font: { color: css("--ink") }, ...place },
        hoverlabel: { bgcolor: css("--card"), bordercolor: line, font: { color: css("--ink") } },
        modebar: { bgcolor: css("--card"), color: css("--muted"), activecolor: css("--ink") },
      },
    };
  };

  const specification = (chart) => {
    const figure = painted(JSON.parse(document.getElementById(`data-${chart.id}`).textContent), "");
    const layout = {
      margin: { l: 8, r: 14, t: coarse.matches ? 36 : 28, b: 8 },
      // Where a finger drags, the page must scroll; the buttons above the chart zoom instead.
      dragmode: coarse.matches ? false : "zoom",
      ...figure.layout, template: look(), autosize: true,
    };
    const config = {
      responsive: true, displaylogo: false, displayModeBar: coarse.matches ? true : "hover",
      // plotly.js 4 offers to upload a chart; nothing leaves this page.
      showSendToCloud: false, plotlyServerURL: "", showTips: false,
      modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"],
    };
    return [figure.data, layout, config];
  };

  const failed = (chart, error) => {
    chart.classList.add("failed");
    chart.textContent = `This chart could not be drawn: ${error.message || error}`;
    console.error(error);
  };

  let together = false;
  const follow = (chart, change) => {
    if (together) return;
    const update = {};
    if ("xaxis.range[0]" in change) update["xaxis.range"] = [change["xaxis.range[0]"], change["xaxis.range[1]"]];
    else if ("xaxis.range" in change) update["xaxis.range"] = [...change["xaxis.range"]];
    else if (change["xaxis.autorange"]) update["xaxis.autorange"] = true;
    else return;
    together = true;
    const others = charts.filter((other) => other !== chart && other.dataset.linked === "yes" && other.layout);
    Promise.all(others.map((other) => Plotly.relayout(other, update))).finally(() => { together = false; });
  };

  const draw = (chart) => {
    try {
      const drawn = Plotly.newPlot(chart, ...specification(chart));
      if (chart.dataset.linked === "yes") chart.on("plotly_relayout", (change) => follow(chart, change));
      return drawn.catch((error) => failed(chart, error));
    } catch (error) {
      failed(chart, error);
      return Promise.resolve();
    }
  };

  const redraw = (chart) => {
    if (!chart.layout) return;
    const [data, layout, config] = specification(chart);
    // What the reader chose stays: the range of an axis and its type.
    for (const name of ["xaxis", "yaxis"]) {
      const now = chart.layout[name];
      if (!now) continue;
      layout[name] = { ...layout[name], type: now.type };
      if (now.autorange === false) Object.assign(layout[name], { range: [...now.range], autorange: false });
    }
    Plotly.react(chart, data, layout, config);
  };

  const switches = () => {
    for (const button of document.querySelectorAll(".switch")) {
      const chart = document.getElementById(button.dataset.for);
      const type = () => (chart.layout && chart.layout.yaxis && chart.layout.yaxis.type) || "linear";
      const show = () => button.setAttribute("aria-pressed", String(type() === "log"));
      show();
      button.addEventListener("click", async () => {
        if (!chart.layout) return;
        const next = type() === "log" ? "linear" : "log";
        await Plotly.relayout(chart, { "yaxis.type": next, "yaxis.autorange": true });
        show();
      });
    }
  };

  const copying = () => {
    for (const button of document.querySelectorAll(".copy")) {
      if (!navigator.clipboard) continue;
      button.hidden = false;
      button.addEventListener("click", async () => {
        try {
          await navigator.clipboard.writeText(document.getElementById(button.dataset.copy).textContent);
          button.textContent = "Copied";
        } catch {
          button.textContent = "Not allowed here";
        }
      });
    }
  };

  Promise.all(charts.map(draw)).then(() => { document.documentElement.dataset.drawn = "yes"; });
  switches();
  copying();
  for (const change of [dark, narrow, coarse]) change.addEventListener("change", () => charts.forEach(redraw));
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((part) => { part.open = true; }));
})();
