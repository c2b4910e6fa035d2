// Which line is under the pointer.

/** A route as short straight pieces. */
function sampled(route) {
  var points = [];
  var x0 = 0;
  var y0 = 0;
  function add(x, y) {
    points.push(x, y);
    x0 = x;
    y0 = y;
  }
  trace(route, add, add, function (a, b, c, d, x, y) {
    var sx = x0;
    var sy = y0;
    for (var step = 1; step <= 12; step += 1) {
      var u = step / 12;
      var v = 1 - u;
      add(v * v * v * sx + 3 * v * v * u * a + 3 * v * u * u * c + u * u * u * x, v * v * v * sy + 3 * v * v * u * b + 3 * v * u * u * d + u * u * u * y);
    }
  });
  return points;
}

/** The line next to a spot, at most `reach` away; -1 for none. */
function nearest(lines, spot, reach, skipped) {
  var best = reach;
  var found = -1;
  lines.forEach(function (points, number) {
    if (skipped(number)) return;
    for (var i = 2; i < points.length; i += 2) {
      var ax = points[i - 2];
      var ay = points[i - 1];
      var bx = points[i];
      var by = points[i + 1];
      if (Math.min(ax, bx) - best > spot.x || Math.max(ax, bx) + best < spot.x || Math.min(ay, by) - best > spot.y || Math.max(ay, by) + best < spot.y) continue;
      var dx = bx - ax;
      var dy = by - ay;
      var t = Math.max(0, Math.min(1, ((spot.x - ax) * dx + (spot.y - ay) * dy) / (dx * dx + dy * dy || 1)));
      var apart = Math.hypot(spot.x - ax - t * dx, spot.y - ay - t * dy);
      if (apart < best) {
        best = apart;
        found = number;
      }
    }
  });
  return found;
}
