// Moving and scaling a drawing: mouse, wheel, touch and keys.

/**
 * Makes `element` a window onto a drawing. `draw({x, y, scale})` is called when the view changes, at most
 * once a frame. `tap(point, event)` is a click or tap that moved nothing.
 */
function viewport(element, options) {
  var view = { x: 0, y: 0, scale: 1 };
  var pointers = new Map();
  var moved = false;
  var start = null;
  var asked = false;
  var stopped = false;
  var still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  var gliding = 0;

  function changed() {
    if (asked || stopped) return;
    asked = true;
    requestAnimationFrame(function () {
      asked = false;
      if (!stopped) options.draw(view);
    });
  }

  function size() {
    return { width: element.clientWidth, height: element.clientHeight };
  }

  function limits() {
    return [options.smallest || 0.03, options.largest || 3];
  }

  function zoom(factor, x, y) {
    var range = limits();
    var scale = Math.min(range[1], Math.max(range[0], view.scale * factor));
    view.x = x - ((x - view.x) * scale) / view.scale;
    view.y = y - ((y - view.y) * scale) / view.scale;
    view.scale = scale;
    changed();
  }

  function zoomAtCenter(factor) {
    gliding += 1;
    var room = size();
    zoom(factor, room.width / 2, room.height / 2);
  }

  /** Goes there, smoothly where that is wanted. */
  function to(target, atOnce) {
    var ticket = (gliding += 1);
    if (atOnce || still) {
      Object.assign(view, target);
      changed();
      return;
    }
    var from = Object.assign({}, view);
    var began = performance.now();
    (function step(now) {
      if (ticket !== gliding || stopped) return;
      var t = Math.min(1, Math.max(0, (now - began) / 260));
      var e = 1 - Math.pow(1 - t, 3);
      view.scale = from.scale * Math.pow(target.scale / from.scale, e);
      view.x = from.x + (target.x - from.x) * e;
      view.y = from.y + (target.y - from.y) * e;
      changed();
      if (t < 1) requestAnimationFrame(step);
    })(began);
  }

  /** Shows a rectangle of the drawing whole. */
  function fit(box, atOnce, most) {
    var room = size();
    var margin = Math.min(40, room.width * 0.05);
    // The legend stands below.
    var top = 36;
    var below = 64;
    var range = limits();
    var scale = Math.min((room.width - 2 * margin) / Math.max(1, box.width), (room.height - top - below) / Math.max(1, box.height));
    scale = Math.max(range[0], Math.min(most || 1.15, scale));
    var middle = (room.height + top - below) / 2;
    to({ scale: scale, x: room.width / 2 - (box.x + box.width / 2) * scale, y: middle - (box.y + box.height / 2) * scale }, atOnce);
  }

  /** Brings a point to the middle, large enough to read. */
  function center(x, y, least) {
    var room = size();
    var scale = Math.max(view.scale, least || 0);
    to({ scale: scale, x: room.width / 2 - x * scale, y: room.height / 2 - y * scale });
  }

  /** Moves so little that a rectangle can be seen. */
  function reveal(box) {
    var room = size();
    var pad = 24;
    var x = view.x;
    var y = view.y;
    var left = box.x * view.scale + x;
    var top = box.y * view.scale + y;
    var right = left + box.width * view.scale;
    var bottom = top + box.height * view.scale;
    if (left < pad) x += pad - left;
    else if (right > room.width - pad) x -= right - room.width + pad;
    if (top < pad) y += pad - top;
    else if (bottom > room.height - pad) y -= bottom - room.height + pad;
    if (x !== view.x || y !== view.y) to({ x: x, y: y, scale: view.scale });
  }

  function point(event) {
    var box = element.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  }

  function inside(at) {
    return { x: (at.x - view.x) / view.scale, y: (at.y - view.y) / view.scale };
  }

  element.addEventListener("pointerdown", function (event) {
    if (event.button !== 0 || event.target.closest(".graph-tools, .legend, .tip")) return;
    gliding += 1;
    pointers.set(event.pointerId, point(event));
    if (pointers.size === 1) {
      moved = false;
      start = point(event);
    } else moved = true;
  });
  element.addEventListener("pointermove", function (event) {
    var now = point(event);
    var before = pointers.get(event.pointerId);
    if (!before) {
      if (options.hover && event.pointerType === "mouse") options.hover(inside(now), now);
      return;
    }
    if (pointers.size === 1) {
      if (!moved && Math.hypot(now.x - start.x, now.y - start.y) < 5) return;
      if (!moved) {
        moved = true;
        element.setPointerCapture(event.pointerId);
        element.classList.add("dragging");
      }
      view.x += now.x - before.x;
      view.y += now.y - before.y;
      changed();
    } else if (pointers.size === 2) {
      var other = null;
      pointers.forEach(function (value, id) {
        if (id !== event.pointerId) other = value;
      });
      var apart = Math.hypot(before.x - other.x, before.y - other.y);
      var nowApart = Math.hypot(now.x - other.x, now.y - other.y);
      view.x += (now.x - before.x) / 2;
      view.y += (now.y - before.y) / 2;
      if (apart > 10 && nowApart > 10) zoom(nowApart / apart, (now.x + other.x) / 2, (now.y + other.y) / 2);
      changed();
    }
    pointers.set(event.pointerId, now);
  });
  function up(event) {
    var known = pointers.delete(event.pointerId);
    element.classList.remove("dragging");
    if (known && !moved && event.type === "pointerup" && options.tap) options.tap(inside(point(event)), event);
  }
  element.addEventListener("pointerup", up);
  element.addEventListener("pointercancel", up);
  element.addEventListener("pointerleave", function (event) {
    if (!element.hasPointerCapture(event.pointerId)) pointers.delete(event.pointerId);
    if (options.leave) options.leave();
  });
  // A drag across a link is no click on it.
  element.addEventListener(
    "click",
    function (event) {
      if (moved) {
        event.preventDefault();
        event.stopPropagation();
      }
    },
    true
  );
  element.addEventListener("dragstart", function (event) {
    event.preventDefault();
  });
  element.addEventListener(
    "wheel",
    function (event) {
      if (event.target.closest(".legend, .tip")) return;
      event.preventDefault();
      gliding += 1;
      var lines = event.deltaMode === 1 ? 18 : event.deltaMode === 2 ? 240 : 1;
      var at = point(event);
      if (event.shiftKey && !event.ctrlKey) {
        view.x -= (event.deltaX || event.deltaY) * lines;
        changed();
      } else zoom(Math.exp(-Math.max(-180, Math.min(180, event.deltaY * lines)) * (event.ctrlKey ? 0.01 : 0.0022)), at.x, at.y);
    },
    { passive: false }
  );
  element.addEventListener("keydown", function (event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (options.key && options.key(event)) {
      event.preventDefault();
      return;
    }
    var step = event.shiftKey ? 240 : 80;
    var moves = { ArrowLeft: [step, 0], ArrowRight: [-step, 0], ArrowUp: [0, step], ArrowDown: [0, -step] };
    if (moves[event.key] && event.target === element) to({ scale: view.scale, x: view.x + moves[event.key][0], y: view.y + moves[event.key][1] });
    else if (event.key === "+" || event.key === "=") zoomAtCenter(1.3);
    else if (event.key === "-") zoomAtCenter(1 / 1.3);
    else if (event.key === "0") options.home();
    else return;
    event.preventDefault();
  });
  var watcher = new ResizeObserver(function () {
    if (options.resized) options.resized();
    changed();
  });
  watcher.observe(element);

  return {
    view: view,
    fit: fit,
    center: center,
    reveal: reveal,
    zoom: zoomAtCenter,
    redraw: changed,
    inside: inside,
    stop: function () {
      stopped = true;
      watcher.disconnect();
    },
  };
}

/** Buttons for those who have no wheel. */
function zoomButtons(window, home) {
  function button(name, label, act) {
    return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, onclick: act }, icon(name));
  }
  return h(
    "div",
    { class: "graph-tools zoom", role: "group", "aria-label": "Zoom" },
    button("plus", "Zoom in", function () {
      window.zoom(1.4);
    }),
    button("minus", "Zoom out", function () {
      window.zoom(1 / 1.4);
    }),
    button("fit", "Show all", home)
  );
}
