/* The clock by which the compiler says where its time goes. */
#ifndef VMOEC_IR_CLOCK_H
#define VMOEC_IR_CLOCK_H

/* Seconds since some moment in the past; never runs backwards. */
double ir_seconds(void);

#endif
