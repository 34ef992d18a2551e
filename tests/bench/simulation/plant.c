/* The loop of services/enexa/simulation/plant.py, line by line, as the limit that the compiled source is held to. */
#include <math.h>
#include <stdint.h>

enum { MAX_CHARGE, MAX_DISCHARGE, CHARGE_EFFICIENCY, DISCHARGE_EFFICIENCY, FLOOR, CEILING, DERATING_FLOOR, DERATING,
       IDLE_IMPORT, RECHARGE, BUDGET, MAX_CHARGER, EV_LOSS, OFFSETS, EXPORT_LIMIT, EV_LOSS_PER_KW,
       CURVED, LOSS_FIXED, LOSS_LINEAR, LOSS_PER_KW, HVAC_KW_PER_KW, HVAC_MAX, HVAC_LAG_H };
enum { IMPORT, EXPORT, PV_USED, CHARGE, DISCHARGE, EV, ENERGY, OWN };
enum { ENERGY_NOW, DISCHARGED_TODAY, HVAC_NOW, THROUGH_NOW };
enum { CHARGE_BELOW, DISCHARGE_ABOVE, ABSORB_BELOW, EXPORT_ABOVE, GATE, WISH };
enum { REACTIVE, LEVELS, WISHES };
#define WORST_EFFICIENCY 0.85

static double least(double a, double b) { return a < b ? a : b; }
static double most(double a, double b) { return a > b ? a : b; }

static double derated_kw(double max_kw, double energy, double floor, double full) {
    if (energy >= full) return max_kw;
    if (energy <= floor) return 0.0;
    return max_kw * (energy - floor) / (full - floor);
}

static double reactive_kw(double ev, double load, double pv, double limit, double idle, double max_charge,
                          double max_discharge, double chargeable, double rechargeable) {
    double net = load - pv;
    if (ev > 0.0) {
        double gap = net - limit;
        if (gap > 0.0) return least(gap, max_discharge);
        return -least(least(max_charge, most(chargeable, 0.0)), -gap);
    }
    double room = most(-net, 0.0) + most(idle - most(net, 0.0), 0.0);
    return -least(least(max_charge, most(rechargeable, 0.0)), room);
}

static double levels_kw(double net, double assist, double max_charge, double max_discharge, double energy, double cap,
                        double export_room, double charge_eff, double discharge_eff, double step_h,
                        const double *levels, int64_t slots, int64_t slot) {
#define LEVEL(row) levels[(row) * slots + slot]
    double above = (energy - LEVEL(DISCHARGE_ABOVE)) * discharge_eff / step_h;
    double below = (LEVEL(CHARGE_BELOW) - energy) / charge_eff / step_h;
    double gap = net - cap;
    if (net > 0.0) {
        double wanted = most(gap, 0.0);
        if (above > 0.0) wanted = most(wanted, least(above, net));
        if (wanted > 0.0) return least(wanted, assist);
        double room = most(least(cap, LEVEL(GATE)) - net, 0.0);
        return -least(least(most(below, 0.0), room), max_charge);
    }
    double surplus = -net;
    double absorb = least(most((LEVEL(ABSORB_BELOW) - energy) / charge_eff / step_h, 0.0), surplus);
    double bought = least(most(below, 0.0), surplus + least(cap, LEVEL(GATE)));
    double charge = least(most(absorb, bought), max_charge);
    if (charge > 0.0) return -charge;
    double sold = (energy - LEVEL(EXPORT_ABOVE)) * discharge_eff / step_h;
    return most(least(least(sold, max_discharge), export_room - surplus), 0.0);
}

static double wished_kw(double wish, double net, double assist, double max_charge, double max_discharge, double cap,
                        double export_room) {
    double upper = assist;
    if (export_room > 0.0) upper = least(max_discharge, most(net, 0.0) + export_room);
    return least(most(wish, most(net - cap, -max_charge)), most(upper, 0.0));
}

static double cell_kw(double battery, const double *p) {
    if (p[CURVED] > 0.0) {
        double size = fabs(battery);
        return battery + p[LOSS_FIXED] * size / (size + 1.0) + size * (p[LOSS_LINEAR] + p[LOSS_PER_KW] * size);
    }
    return battery > 0.0 ? battery / p[DISCHARGE_EFFICIENCY] : battery * p[CHARGE_EFFICIENCY];
}

void run_steps(int64_t first, int64_t last, int64_t mode, double step_h, int64_t steps_per_slot, const double *p,
               const double *buy, const double *sell, const double *pv, const double *own, const double *cap_of,
               const int64_t *car_first, const int64_t *car_last, const double *car_max, double *car_rest, int64_t cars,
               const double *levels, int64_t slots, double *state, double *record, int64_t steps) {
#define RECORD(row) record[(row) * steps + step]
    double charge_eff = p[CHARGE_EFFICIENCY], discharge_eff = p[DISCHARGE_EFFICIENCY];
    if (p[CURVED] > 0.0) charge_eff = 1.0, discharge_eff = WORST_EFFICIENCY;
    int64_t head = 0;
    for (int64_t step = first; step < last; step++) {
        while (head < cars && (car_last[head] <= step || car_rest[head] <= 0.0)) head++;
        double wanted = 0.0, squares = 0.0;
        for (int64_t car = head; car < cars && car_first[car] <= step; car++)
            if (step < car_last[car]) {
                double kw = least(car_max[car], car_rest[car] / step_h);
                wanted += kw;
                squares += kw * kw;
            }
        double ev = least(wanted, p[MAX_CHARGER]);
        double loss = 1.0 + p[EV_LOSS];
        if (wanted > 0.0) loss += p[EV_LOSS_PER_KW] * squares / wanted;
        if (p[HVAC_KW_PER_KW] > 0.0) {
            double hvac = least(p[HVAC_KW_PER_KW] * state[THROUGH_NOW], p[HVAC_MAX]);
            state[HVAC_NOW] += (hvac - state[HVAC_NOW]) * (1.0 - exp(-step_h / p[HVAC_LAG_H]));
        }
        double house = own[step] + state[HVAC_NOW], load = loss * ev + house;
        int sun_last = mode != REACTIVE && buy[step] < 0.0;
        double sun = sun_last ? 0.0 : pv[step], spare_sun = pv[step] - sun;
        double net = load - sun, cap = cap_of[step], energy = state[ENERGY_NOW];
        double discharge = derated_kw(p[MAX_DISCHARGE], energy, p[DERATING_FLOOR], p[DERATING]);
        discharge = least(discharge, (energy - p[FLOOR]) * discharge_eff / step_h);
        discharge = most(least(discharge, (p[BUDGET] - state[DISCHARGED_TODAY]) / step_h), 0.0);
        double charge = most(least(p[MAX_CHARGE], (p[CEILING] - energy) / charge_eff / step_h), 0.0);
        double assist = least(discharge, p[OFFSETS] > 0.0 ? net : ev);
        double export_room = isnan(sell[step]) ? 0.0 : p[EXPORT_LIMIT];
        double battery;
        if (mode == REACTIVE)
            battery = reactive_kw(ev, load, sun, cap, least(p[IDLE_IMPORT], cap), charge, most(assist, 0.0), charge,
                                  (p[RECHARGE] - energy) / charge_eff / step_h);
        else if (mode == WISHES)
            battery = wished_kw(levels[WISH * slots + step / steps_per_slot], net, assist, charge, discharge,
                                cap + spare_sun, export_room);
        else
            battery = levels_kw(net, assist, charge, discharge, energy, cap + spare_sun, export_room, charge_eff,
                                discharge_eff, step_h, levels, slots, step / steps_per_slot);
        double grid = net - battery;
        if (sun_last) {
            sun = least(most(grid - cap, 0.0), spare_sun);
            grid -= sun;
        }
        double served = ev;
        if (grid > cap) {
            served = most(ev - (grid - cap) / loss, 0.0);
            grid = loss * served + house - sun - battery;
        }
        double exported = least(most(-grid, 0.0), export_room);
        RECORD(IMPORT) = most(grid, 0.0);
        RECORD(EXPORT) = exported;
        RECORD(PV_USED) = sun - (most(-grid, 0.0) - exported);
        RECORD(CHARGE) = most(-battery, 0.0);
        RECORD(DISCHARGE) = most(battery, 0.0);
        RECORD(EV) = served;
        RECORD(OWN) = house + (loss - 1.0) * served;
        energy -= cell_kw(battery, p) * step_h;
        state[THROUGH_NOW] = fabs(battery) + served;
        RECORD(ENERGY) = energy;
        state[ENERGY_NOW] = energy;
        state[DISCHARGED_TODAY] += RECORD(DISCHARGE) * step_h;
        double share = wanted > 0.0 ? served / wanted : 0.0;
        for (int64_t car = head; car < cars && car_first[car] <= step; car++)
            if (step < car_last[car]) {
                double taken = least(car_max[car], car_rest[car] / step_h) * share * step_h;
                car_rest[car] = most(car_rest[car] - taken, 0.0);
                if (car_rest[car] < 1e-9) car_rest[car] = 0.0;
            }
    }
}
