// Controls of the graphs. Each has `sync`, which shows what the filter says.

/** How many steps to go from the focus; after nine comes all. */
function stepper(label, filter, key, apply) {
  var value = h("output", {});
  function change(by) {
    return function () {
      var now = filter[key];
      if (by > 0) filter[key] = now >= 9 ? Infinity : now + 1;
      else filter[key] = now === Infinity ? 9 : Math.max(0, now - 1);
      apply();
    };
  }
  var group = h(
    "span",
    { class: "stepper", role: "group", "aria-label": label },
    h("span", { class: "stepper-label" }, label),
    h("button", { type: "button", "aria-label": "Less " + label, onclick: change(-1) }, "−"),
    value,
    h("button", { type: "button", "aria-label": "More " + label, onclick: change(1) }, "+")
  );
  group.sync = function () {
    value.textContent = filter[key] === Infinity ? "all" : String(filter[key]);
    group.hidden = !filter.focus;
  };
  return group;
}

function selector(label, filter, key, options, apply) {
  var element = h(
    "select",
    { "aria-label": label },
    options.map(function (option) {
      return h("option", { value: option[0] }, option[1]);
    })
  );
  element.addEventListener("change", function () {
    filter[key] = element.value;
    apply();
  });
  element.sync = function () {
    element.value = filter[key];
  };
  return element;
}

/** The first option and then these, in order. */
function choices(first, values) {
  return [["", first]].concat(
    Array.from(values)
      .sort()
      .map(function (value) {
        return [value, value.replace(/\/$/, "")];
      })
  );
}

/** The legend; with colours by type its entries hide and show their type. */
function fillLegend(legend, filter, folders, apply) {
  legend.replaceChildren();
  if (filter.colour === "folder") {
    folders.slice(0, 14).forEach(function (name) {
      var mark = h("i", { class: "dot" });
      mark.style.background = folderColour(name, folders);
      legend.append(h("span", { class: "legend-item" }, mark, name || "(top)"));
    });
    return;
  }
  if (filter.colour === "run") {
    [["good", "fine"], ["warn", "warned"], ["bad", "failed"], ["skip", "skipped"]].forEach(function (state) {
      legend.append(h("span", { class: "legend-item" }, h("i", { class: "dot " + state[0] }), state[1]));
    });
    return;
  }
  Object.keys(KINDS).forEach(function (kind) {
    var used = KINDS[kind].graph && pages.some(function (page) {
      return page.type === kind;
    });
    if (!used) return;
    var hidden = filter.hidden.has(kind);
    legend.append(
      h(
        "button",
        {
          type: "button",
          class: "legend-item kind-" + kind,
          "aria-pressed": hidden ? "false" : "true",
          title: (hidden ? "Show " : "Hide ") + KINDS[kind].many,
          onclick: function () {
            if (!filter.hidden.delete(kind)) filter.hidden.add(kind);
            apply();
          },
        },
        h("i", { class: "dot", "aria-hidden": "true" }),
        KINDS[kind].many
      )
    );
  });
}
